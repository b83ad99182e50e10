"""What gateways are known to fail at in the field, as properties of this one; docs/resilience.md lists them all."""

from __future__ import annotations

import gc
import re
import sys
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.pools.replica import ReplicaState
from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import gateway, remote
from tests.kit.playbook import CHAT, Clock, Playbook, post
from tests.kit.scripted import whole

ANSWER = whole(b'{"id":"1","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}')
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.install(monkeypatch)


async def test_a_long_stream_is_relayed_and_not_kept() -> None:
    play = Playbook(engines=1)
    play.client.sends(post(CHAT, stream=True, max_tokens=20_000))
    data = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 1000)
    event, line = b"%x\r\n%b\r\n" % (len(data), data), play.engines[0].line
    line.says(STREAM_HEAD, *[event] * 100)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5_000):
            line.says(event)
            # The client has read it.
            play.client.transport.written.clear()
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 50 * len(event), f"{kept} bytes of {5_000 * len(event)} are kept"


async def test_after_a_spike_everything_is_as_before() -> None:
    play = Playbook(engines=2, limit=8, max_queue=16)
    clients = [play.new_client() for _ in range(400)]
    for client in clients:
        client.sends(post(CHAT))
    refused = [client for client in clients if client.got().startswith(b"HTTP/1.1 503 ")]
    assert len(refused) == 400 - 8 - 16
    done = [0, 0]
    while sum(done) < 24:
        for number, engine in enumerate(play.engines):
            waiting, done[number] = engine.asked[done[number] :], engine.requests
            for line in waiting:
                line.says(ANSWER)
        await play.turn()
    answered = [client for client in clients if client not in refused]
    assert [client.got()[:15] for client in answered] == [b"HTTP/1.1 200 OK"] * 24
    assert set(play.held()) == {0}
    for client in refused[:8]:
        client.sends(post(CHAT))
    assert play.pool.admission.running == 8
    assert play.pool.admission.waiting == 0


@pytest.mark.parametrize("status", [b"400 Bad Request", b"404 Not Found", b"422 Unprocessable Entity"])
async def test_the_mistakes_of_clients_are_neither_retried_nor_held_against_a_replica(status: bytes) -> None:
    play = Playbook(engines=2)
    for _ in range(100):
        play.client.sends(post(CHAT))
        play.last_asked.says(whole(b'{"error":{"message":"no"}}', status))
    assert sum(engine.requests for engine in play.engines) == 100
    assert [replica.state for replica in play.replicas] == [ReplicaState.READY] * 2
    assert play.client.got().count(b"HTTP/1.1 %b" % status[:3]) == 100


async def test_a_request_touches_no_file_no_database_and_no_name_server() -> None:
    key = {"id": "a", "sha256": sha256(b"sk").hexdigest(), "limits": {"requests_per_minute": 99}}
    play = Playbook(engines=2, keys=[key])
    request = post(CHAT, headers=b"authorization: Bearer sk\r\n")

    def ask() -> None:
        play.client.sends(request)
        play.last_asked.says(ANSWER)

    ask()
    touched = audited(ask)
    assert play.client.got().count(b"HTTP/1.1 200 OK") == 2
    assert touched == []


def audited(act: Callable[[], object]) -> list[str]:
    """Return what the interpreter reports of files, sockets, databases and processes while ``act`` runs."""
    seen: list[str] = []
    watching = True

    def hook(event: str, _arguments: tuple[Any, ...]) -> None:
        if watching and event.partition(".")[0] in ("open", "os", "socket", "sqlite3", "subprocess", "urllib"):
            seen.append(event)

    # It can never be removed again.
    sys.addaudithook(hook)
    act()
    watching = False
    return seen


async def test_what_clients_make_up_adds_no_series(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine, gateway({"m": remote(engine.address)}) as running:

        async def junk(number: int) -> None:
            asked: tuple[tuple[str, str, Any], ...] = (
                ("POST", f"/v1/{number}", {"model": "m"}),
                ("GET", f"/{number}/{number}", None),
                ("PUT", "/v1/models", {}),
                ("GET", f"/v1/models/{number}", None),
                ("GET", f"/v1/files/{number}", None),
                ("POST", CHAT, {"model": f"model-{number}", "messages": []}),
                ("POST", f"{CHAT}?a={number}", {"model": f"{number}"}),
            )
            for method, path, body in asked:
                async with await running.wire() as wire:
                    await wire.request(method, path, body, {"x-request-id": f"id-{number}"})
                    assert (await wire.response()).status in (404, 405)

        await junk(0)
        before = series(await running.metrics())
        for number in range(1, 20):
            await junk(number)
        assert series(await running.metrics()) == before


def series(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


async def refused_queue_full(clock: Clock) -> bytes:
    play = Playbook(limit=1, max_queue=0)
    play.client.sends(post(CHAT))
    other = play.new_client()
    other.sends(post(CHAT))
    return other.got()


async def refused_queue_timeout(clock: Clock) -> bytes:
    play = Playbook(limit=1, queue_timeout=5.0, clock=clock)
    play.client.sends(post(CHAT))
    other = play.new_client()
    other.sends(post(CHAT))
    play.tick(6.0)
    return other.got()


async def refused_without_a_replica(clock: Clock) -> bytes:
    play = Playbook()
    play.replicas[0].set_state(ReplicaState.FAILING, "down")
    play.client.sends(post(CHAT))
    return play.client.got()


async def refused_while_it_ends(clock: Clock) -> bytes:
    play = Playbook()
    play.dispatcher.refuse_new()
    play.client.sends(post(CHAT))
    return play.client.got()


async def refused_by_overload(clock: Clock) -> bytes:
    play = Playbook()
    for _ in range(100):
        play.shedding.tick(1.0)
        play.shedding.refuses(0)
    while not (got := play.client.got()):
        play.client.sends(post(CHAT))
        if play.engines[0].requests > 2:
            raise AssertionError("nothing is refused")
    return got


async def refused_for_bodies(clock: Clock) -> bytes:
    play = Playbook(limits={"max_body_bytes": 2_000, "max_total_body_bytes": 2_000})
    play.client.sends(post(CHAT, prompt="x" * 1_500))
    other = play.new_client()
    other.sends(post(CHAT, prompt="x" * 1_500))
    return other.got()


async def refused_by_a_limit_of_its_key(clock: Clock) -> bytes:
    key = {"id": "a", "sha256": sha256(b"sk").hexdigest(), "limits": {"requests_per_minute": 1}}
    play = Playbook(keys=[key])
    request = post(CHAT, headers=b"authorization: Bearer sk\r\n")
    play.client.sends(request)
    other = play.new_client()
    other.sends(request)
    return other.got()


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (refused_queue_full, "queue_full"),
        (refused_queue_timeout, "queue_timeout"),
        (refused_without_a_replica, "no_ready_replica"),
        (refused_while_it_ends, "shutting_down"),
        (refused_by_overload, "gateway_overloaded"),
        (refused_for_bodies, "body_memory_exhausted"),
        (refused_by_a_limit_of_its_key, "rate_limit_exceeded"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_refusal_has_one_code_and_says_when_to_come_back(
    refused: Callable[[Clock], Any], code: str, clock: Clock
) -> None:
    got: bytes = await refused(clock)
    assert re.match(rb"HTTP/1.1 (?:503|429) ", got)
    assert got.count(b'"code":"%b"' % code.encode()) == 1
    (seconds,) = re.findall(rb"retry-after: (\d+)\r\n", got)
    (milliseconds,) = re.findall(rb"retry-after-ms: (\d+)\r\n", got)
    assert 1 <= int(seconds) <= 60
    assert int(milliseconds) <= int(seconds) * 1000
