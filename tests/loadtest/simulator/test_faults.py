"""Faults as values: drawn by probability and seed, written as JSON."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.simulator import Cut, Faults, Profile, SimulatedEngine
from tests.kit.wire import Wire, WireError


def test_no_faults_by_default() -> None:
    assert Faults().drawn(random.Random(0)) == Faults()


def test_a_probability_is_the_share_of_requests_that_suffer() -> None:
    faults, draw = Faults(probability=0.25, status=500), random.Random(1)
    drawn = Counter(faults.drawn(draw).status for _ in range(4000))
    assert 900 < drawn[500] < 1100


def test_of_a_mix_each_request_suffers_at_most_one() -> None:
    mix = Faults(mix=(Faults(probability=0.5, status=500), Faults(probability=0.25, cut_after=3)))
    draw = random.Random(2)
    drawn = Counter((each.status, each.cut_after) for each in (mix.drawn(draw) for _ in range(4000)))
    assert set(drawn) == {(500, None), (0, 3), (0, None)}
    assert 1900 < drawn[500, None] < 2100
    assert 900 < drawn[0, 3] < 1100


def test_the_same_seed_draws_the_same() -> None:
    faults = Faults(probability=0.5, status=500)

    def once() -> list[int]:
        draw = random.Random(7)
        return [faults.drawn(draw).status for _ in range(50)]

    assert once() == once()


@pytest.mark.parametrize(
    "wrong",
    [{"probability": 1.5}, {"probability": -0.1}, {"mix": (Faults(probability=0.7), Faults(probability=0.7))}],
)
def test_probabilities_must_be_possible(wrong: Any) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        Faults(**wrong)


def test_json_gives_back_what_was_written() -> None:
    faults = Faults(cut_after=3, cut=Cut.RESET, mix=(Faults(probability=0.5, status=503),))
    assert Faults.decode(faults.encode()) == faults


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"[]", b"{", b'{"cut": "softly"}', b'{"status": "500"}', b'{"cuts": 1}', b'{"probability": 2}'),
        *(b'{"status": 99}', b'{"status": 600}', b'{"segment_bytes": -1}', b'{"crash_after": -1}', b'{"delay": -1}'),
    ],
)
def test_json_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(msgspec.DecodeError):
        Faults.decode(wrong)


async def test_refusing_can_begin_and_end_while_the_engine_runs() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as old:
        engine.faults = Faults(refuse=True)
        with pytest.raises(ConnectionRefusedError):
            await Wire.connect_to(engine.address)
        await old.request("GET", "/health")
        assert (await old.response()).status == 200
        engine.faults = Faults()
        await engine.until(lambda e: e.listening)
        async with await Wire.connect_to(engine.address) as new:
            await new.request("GET", "/health")
            assert (await new.response()).status == 200


async def test_an_engine_can_begin_by_refusing(tmp_path: Path) -> None:
    async with SimulatedEngine(uds=tmp_path / "sock", faults=Faults(refuse=True)) as engine:
        with pytest.raises(FileNotFoundError):
            await Wire.connect_to(engine.address)
        engine.faults = Faults()
        await engine.until(lambda e: e.listening)


async def test_health_can_fail_by_itself() -> None:
    async with SimulatedEngine(faults=Faults(unhealthy=True)) as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("GET", "/health")
        assert (await wire.response()).status == 503
        await wire.request("POST", "/v1/embeddings", {"input": "a"})
        assert (await wire.response()).status == 200


CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": True}


async def steer(wire: Wire, faults: dict[str, Any]) -> None:
    """Change the faults over HTTP, as whoever steers a running simulation does."""
    await wire.request("PUT", "/sim/faults", faults)
    assert (await wire.response()).status == 200


async def what_happens(engine: SimulatedEngine, patience: float = 10.0) -> str:
    """Send one request on a connection of its own, and say what its client sees within so many seconds."""
    try:
        async with await Wire.connect_to(engine.address, timeout=patience) as wire:
            await wire.request("POST", "/v1/chat/completions", CHAT)
            answer = await wire.response()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silent"
    except WireError as error:
        return f"broken: {error}"
    return "good" if answer.status == 200 else str(answer.status)


@pytest.mark.parametrize(
    ("faults", "seen"),
    [
        ({"refuse": True}, "refused"),
        ({"silent": True}, "silent"),
        ({"hang_after": 2}, "silent"),
        ({"cut_after": 2}, "broken: the peer closed instead of a chunk"),
        ({"delay": 0.12}, "good"),
        ({"status": 500}, "500"),
        ({"status": 503}, "503"),
    ],
    ids=["refuse", "hang", "hang-in-stream", "cut-mid-stream", "slow-first-byte", "500", "503-queue-full"],
)
@pytest.mark.parametrize("profile", [None, Profile()], ids=["paced", "profile"])
async def test_each_fault_begins_and_ends_while_the_engine_runs(
    profile: Profile | None, faults: dict[str, Any], seen: str
) -> None:
    async with SimulatedEngine(profile=profile) as engine, await Wire.connect_to(engine.address) as control:
        assert await what_happens(engine) == "good"
        await steer(control, faults)
        began = asyncio.get_running_loop().time()
        assert (await what_happens(engine, 0.3 if seen == "silent" else 10.0)).startswith(seen)
        # The clock of uvloop counts milliseconds.
        assert asyncio.get_running_loop().time() - began > faults.get("delay", 0.0) - 0.002
        await steer(control, {})
        await engine.until(lambda e: e.listening)
        assert await what_happens(engine) == "good"


async def test_a_crash_can_be_ordered_while_the_engine_runs() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as control:
        await steer(control, {"crash_after": 2})
        assert (await what_happens(engine)).startswith("broken")
        assert await what_happens(engine) == "refused"
        engine.faults = Faults()
        await engine.restart()
        assert await what_happens(engine) == "good"
