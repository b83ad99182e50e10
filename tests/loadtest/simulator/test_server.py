"""The simulated engine as a whole: where it listens, what it counts, how one waits for it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import Faults, Profile, SimulatedEngine, Timing
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire

CHAT = {"model": "sim", "messages": [{"role": "user", "content": "hi"}]}
STREAM = CHAT | {"stream": True}
EMBED = {"model": "sim", "input": "hi"}


async def test_listens_on_a_port_of_its_own_choice() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("GET", "/health")
        assert (await wire.response()).status == 200
        assert engine.address.startswith("http://127.0.0.1:")


async def test_listens_on_a_unix_socket_and_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    async with SimulatedEngine(uds=path) as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("GET", "/health")
        assert (await wire.response()).status == 200
        assert engine.address == f"unix:{path}"
    assert not path.exists()


async def test_replaces_the_socket_that_a_crashed_engine_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    async with SimulatedEngine(uds=path) as engine:
        engine.crash()
        assert path.exists()
        async with SimulatedEngine(uds=path) as second, await Wire.connect_to(second.address) as wire:
            await wire.request("GET", "/health")
            assert (await wire.response()).status == 200


async def test_records_requests_as_they_came() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as wire:
        await wire.send(
            b"POST /v1/embeddings?a=b HTTP/1.1\r\nHost: x\r\nX-Odd:  1\r\nContent-Length: 12\r\n\r\n"
            + b'{"input":"a"}'[:12]
        )
        await wire.response()
        (request,) = engine.requests
        assert request.method == "POST"
        assert request.path == "/v1/embeddings?a=b"
        assert request.headers == [(b"Host", b"x"), (b"X-Odd", b"1"), (b"Content-Length", b"12")]
        assert request.body == b'{"input":"a"'
        assert request.header("x-odd") == "1"
        assert request.header_names() == ["host", "x-odd", "content-length"]


async def test_counts_what_it_served_and_not_its_probes() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as wire:
        for _ in range(3):
            await wire.request("POST", "/v1/embeddings", EMBED)
            assert (await wire.response()).status == 200
        await wire.request("GET", "/metrics")
        await wire.response()
        assert (engine.received, engine.served, engine.probes) == (3, 3, 1)
        assert (engine.connections, engine.accepted) == (1, 1)
        assert "3 received, 3 served, 0 aborted, 0 faulted" in repr(engine)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_a_client_that_leaves_in_prefill_is_an_abort(body: dict[str, Any]) -> None:
    async with SimulatedEngine(timing=Timing(ttft=3600)) as engine:
        async with await Wire.connect_to(engine.address) as wire:
            await wire.request("POST", "/v1/chat/completions", body)
            await engine.until(lambda e: e.running == 1)
        await engine.until(lambda e: e.aborted == 1)
        assert (engine.running, engine.waiting, engine.served, engine.connections) == (0, 0, 0, 0)


async def test_a_client_that_leaves_the_queue_is_an_abort() -> None:
    timing = Timing(ttft=3600, max_num_seqs=1)
    async with SimulatedEngine(timing=timing) as engine, await Wire.connect_to(engine.address) as first:
        await first.request("POST", "/v1/embeddings", EMBED)
        async with await Wire.connect_to(engine.address) as second:
            await second.request("POST", "/v1/embeddings", EMBED)
            await engine.until(lambda e: e.waiting == 1)
        await engine.until(lambda e: e.aborted == 1)
        assert (engine.running, engine.waiting) == (1, 0)


async def test_a_client_that_resets_a_stream_is_an_abort() -> None:
    async with SimulatedEngine(timing=Timing(inter_token=3600)) as engine:
        async with await Wire.connect_to(engine.address) as wire:
            await wire.request("POST", "/v1/chat/completions", STREAM)
            await engine.until(lambda e: e.events == 2)
            wire.abort()
        await engine.until(lambda e: e.aborted == 1 and e.running == 0)


async def test_a_client_that_leaves_after_its_answer_is_no_abort() -> None:
    async with SimulatedEngine() as engine:
        async with await Wire.connect_to(engine.address) as wire:
            await wire.request("POST", "/v1/chat/completions", STREAM)
            await wire.response()
        await engine.until(lambda e: e.connections == 0)
        assert (engine.served, engine.aborted) == (1, 0)


async def test_waits_while_its_client_does_not_read() -> None:
    many = STREAM | {"max_tokens": 2000}
    async with SimulatedEngine(faults=Faults(event_bytes=10_000)) as engine:
        async with await Wire.connect_to(engine.address, limit=2**16) as wire:
            await wire.request("POST", "/v1/chat/completions", many)
            await engine.until(lambda e: e.blocked == 1)
            assert engine.events < 2000
            answer = await wire.response()
        assert len(answer.events) == 2002
        assert (engine.served, engine.blocked) == (1, 0)


async def test_a_client_that_does_not_wait_for_a_large_answer_is_an_abort() -> None:
    async with SimulatedEngine(faults=Faults(event_bytes=1_000_000)) as engine:
        async with await Wire.connect_to(engine.address, limit=2**16) as wire:
            await wire.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 20})
            await engine.until(lambda e: e.blocked == 1)
            assert engine.served == 0
        await engine.until(lambda e: e.aborted == 1 and e.running == 0)


async def test_until_says_what_it_waited_for_in_vain() -> None:
    async with SimulatedEngine() as engine:
        with pytest.raises(TimeoutError, match="0 received, 0 served"):
            await engine.until(lambda e: e.served == 1, timeout=0.01)


async def test_answers_pipelined_requests_in_their_order() -> None:
    async with SimulatedEngine(timing=Timing(ttft=0.001)) as engine, await Wire.connect_to(engine.address) as wire:
        for text in ("a", "b", "c"):
            await wire.request("POST", "/v1/embeddings", EMBED, {"x-request-id": text})
        assert [(await wire.response()).json["id"] for _ in range(3)] == ["embd-a", "embd-b", "embd-c"]


async def test_closes_when_the_client_asked_for_it() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("GET", "/health", headers={"connection": "close"})
        await wire.response()
        await wire.closed()


async def test_unknown_paths_and_methods_are_refused_as_vllm_does() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("POST", "/nowhere", {})
        answer = await wire.response()
        assert answer.status == 404
        assert answer.json == {"detail": "Not Found"}
        for method, path in (("DELETE", "/health"), ("GET", "/v1/embeddings")):
            await wire.request(method, path)
            assert (await wire.response()).status == 405


async def test_faults_and_counts_can_be_had_over_http() -> None:
    async with SimulatedEngine() as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("PUT", "/sim/faults", {"status": 503})
        assert (await wire.response()).json["status"] == 503
        assert engine.faults == Faults(status=503)
        await wire.request("POST", "/v1/embeddings", EMBED)
        assert (await wire.response()).status == 503
        await wire.request("GET", "/sim/counts")
        counts = (await wire.response()).json
        assert (counts["received"], counts["served"], counts["connections"]) == (1, 1, 1)
        await wire.request("PUT", "/sim/faults", {"statsu": 503})
        refused = await wire.response()
        assert refused.status == 400
        assert "no such fault: statsu" in refused.json["error"]["message"]
        await wire.request("GET", "/sim/faults")
        assert (await wire.response()).json["status"] == 503


async def test_leaves_nothing_behind() -> None:
    async with nothing_left():
        async with SimulatedEngine(timing=Timing(inter_token=3600)) as engine:
            wires = [await Wire.connect_to(engine.address) for _ in range(5)]
            for wire in wires:
                await wire.request("POST", "/v1/chat/completions", STREAM)
            await engine.until(lambda e: e.running == 5)
        for wire in wires:
            await wire.close()


async def test_a_crash_resets_everything_and_a_restart_listens_at_the_same_address() -> None:
    async with SimulatedEngine(timing=Timing(ttft=3600)) as engine:
        address = engine.address
        async with await Wire.connect_to(address) as wire:
            await wire.request("POST", "/v1/embeddings", EMBED)
            await engine.until(lambda e: e.running == 1)
            engine.crash()
            await wire.closed()
        with pytest.raises(ConnectionRefusedError):
            await Wire.connect_to(address)
        assert (engine.running, engine.aborted, engine.faulted) == (0, 0, 1)
        await engine.restart()
        async with await Wire.connect_to(address) as wire:
            await wire.request("GET", "/health")
            assert (await wire.response()).status == 200


async def test_many_streams_run_side_by_side() -> None:
    async def one(engine: SimulatedEngine) -> int:
        async with await Wire.connect_to(engine.address) as wire:
            await wire.request("POST", "/v1/completions", {"prompt": "a", "stream": True, "max_tokens": 3})
            return len((await wire.response()).events)

    async with SimulatedEngine(timing=Timing(ttft=0.001, inter_token=0.001, max_num_seqs=64)) as engine:
        lengths = await asyncio.gather(*(one(engine) for _ in range(200)))
        assert lengths == [4] * 200
        assert engine.served == 200


async def test_with_a_profile_the_context_is_no_longer_than_the_kv_cache() -> None:
    profile = Profile(block_size=4, num_blocks=10)
    async with SimulatedEngine(profile=profile) as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("POST", "/v1/completions", {"prompt": "x" * 164})
        assert (await wire.response()).status == 400
        await wire.request("POST", "/v1/completions", {"prompt": "x" * 152, "max_tokens": 40})
        assert (await wire.response()).json["usage"]["completion_tokens"] == 2


async def test_a_client_that_leaves_gives_the_kv_cache_back() -> None:
    async with SimulatedEngine(profile=Profile(step=3600)) as engine:
        async with await Wire.connect_to(engine.address) as wire:
            await wire.request("POST", "/v1/chat/completions", STREAM)
            await engine.until(lambda e: e.running == 1)
            assert engine.batch.kv_cache_usage > 0
        await engine.until(lambda e: e.aborted == 1)
        assert engine.batch.kv_cache_usage == 0
