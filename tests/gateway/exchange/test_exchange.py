"""A request's way through the gateway, against simulated engines: admission, replicas, deadlines, relaying."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import trustme

from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import Faults
from tests.gateway.exchange.asking import CHAT, answer_to, ask, one_engine, said
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import events, scripted_engine, whole
from tests.kit.wire import Wire

# admission


async def test_who_waits_in_the_queue_is_answered_in_order(tmp_path: Path) -> None:
    async with one_engine(tmp_path, {"max_in_flight": 1}) as (engine, running):
        engine.timing = Timing(ttft=0.05)
        wires: list[Wire] = []
        for number in range(4):
            wire = await running.wire()
            await wire.request("POST", CHAT, ask(user=str(number)))
            wires.append(wire)
            await said(running, f"1 in flight, {number} queued")
        for wire in wires:
            assert (await wire.response()).status == 200
            await wire.close()
        assert [json.loads(request.body)["user"] for request in engine.requests] == ["0", "1", "2", "3"]


async def test_a_full_queue_is_a_503_that_says_when_to_come_back(tmp_path: Path) -> None:
    async with one_engine(tmp_path, {"max_in_flight": 1, "max_queue": 0}) as (engine, running):
        engine.faults = Faults(silent=True)
        async with await running.wire() as first:
            await first.request("POST", CHAT, ask())
            await engine.until(lambda e: e.received == 1)
            refused = await answer_to(running, ask())
            assert (refused.status, refused.json["error"]["code"]) == (503, "server_is_overloaded")
            assert refused.json["error"]["type"] == "service_unavailable_error"
            assert refused.header("retry-after") == "1"
            assert refused.header("retry-after-ms") == "1000"
        assert 'headgate_admissions_total{model="m",outcome="refused"} 1.0' in await running.metrics()


async def test_waiting_for_too_long_is_a_503_queue_timeout(tmp_path: Path) -> None:
    async with one_engine(tmp_path, {"max_in_flight": 1}, timeouts={"queue": 0.1}) as (engine, running):
        engine.faults = Faults(silent=True)
        async with await running.wire() as first:
            await first.request("POST", CHAT, ask())
            await engine.until(lambda e: e.received == 1)
            refused = await answer_to(running, ask())
            assert (refused.status, refused.json["error"]["code"]) == (503, "queue_timeout")
            assert refused.header("retry-after")
            assert 'headgate_queue_duration_seconds_bucket{le="0.05",model="m"} 1.0' in await running.metrics()
            assert 'headgate_queue_duration_seconds_count{model="m"} 2.0' in await running.metrics()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_overhead_is_what_neither_the_queue_nor_the_engine_took(tmp_path: Path, stream: bool) -> None:
    async with one_engine(tmp_path, {"max_in_flight": 1}) as (engine, running):
        engine.timing = Timing(ttft=0.05)
        await asyncio.gather(*(answer_to(running, ask(stream=stream)) for _ in range(2)))
        samples = [line.rpartition(" ") for line in (await running.metrics()).splitlines()]
        seconds = {
            name: sum(float(value) for sample, _, value in samples if sample.startswith(f"headgate_{name}_seconds_sum"))
            for name in ("request_duration", "queue_duration", "overhead")
        }
        assert seconds["queue_duration"] >= 0.04
        assert seconds["overhead"] > 0
        assert seconds["request_duration"] - seconds["queue_duration"] - seconds["overhead"] >= 2 * 0.04


# replicas


async def test_no_more_than_three_replicas_are_asked_for_one_request(tmp_path: Path) -> None:
    engines = [SimulatedEngine("m", uds=tmp_path / name) for name in "abcde"]
    for engine in engines:
        await engine.start()
    async with gateway({"m": remote(*(engine.address for engine in engines))}) as running:
        for engine in engines:
            engine.faults = Faults(status=503)
        answer = await answer_to(running, ask())
        assert (answer.status, answer.json["error"]["code"]) == (503, "server_is_overloaded")
        assert sum(engine.received for engine in engines) == 3
    for engine in engines:
        await engine.close()


async def test_what_is_the_requests_own_fault_is_not_asked_of_another_replica(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", faults=Faults(status=400)) as one,
        SimulatedEngine("m", uds=tmp_path / "b", faults=Faults(status=400)) as two,
        gateway({"m": remote(one.address, two.address)}) as running,
    ):
        assert (await answer_to(running, ask())).status == 400
        assert one.received + two.received == 1


async def test_after_the_first_byte_no_other_replica_is_asked(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", faults=Faults(cut_after=1)) as one,
        SimulatedEngine("m", uds=tmp_path / "b", faults=Faults(cut_after=1)) as two,
        gateway({"m": remote(one.address, two.address)}) as running,
    ):
        answer = await answer_to(running, ask(stream=True))
        assert answer.events[-1] == b"data: [DONE]"
        assert one.received + two.received == 1


async def test_a_replica_that_fails_again_and_again_is_left_out_until_a_probe_succeeds(tmp_path: Path) -> None:
    options = {"health_interval": 3600}
    async with one_engine(tmp_path, options) as (engine, running):
        engine.faults = Faults(crash_after=None, garbage=True)
        for _ in range(3):
            assert (await answer_to(running, ask())).status == 502
        refused = await answer_to(running, ask())
        assert (refused.status, refused.json["error"]["code"]) == (503, "no_ready_replica")
        assert engine.received == 3


async def test_an_answer_that_says_that_the_engine_failed_does_not_speak_for_its_replica(tmp_path: Path) -> None:
    async with one_engine(tmp_path, {"health_interval": 3600}) as (engine, running):
        for faults in (Faults(garbage=True), Faults(garbage=True), Faults(status=500), Faults(garbage=True)):
            engine.faults = faults
            await answer_to(running, ask())
        refused = await answer_to(running, ask())
        assert (refused.status, refused.json["error"]["code"]) == (503, "no_ready_replica")


# what the engine is asked


async def test_an_engine_behind_tls_is_asked_if_its_certificate_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("ENGINE_KEY", "sk-engine")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    async with scripted_engine(tls) as engine:
        models = {
            "m": remote(f"{engine.url}/below/v1", api_key_env="ENGINE_KEY"),
            "other": remote(engine.url.replace("localhost", "127.0.0.1"), required=False),
        }
        async with gateway(models, ready=["m"]) as running:
            engine.answer = [whole(b'{"choices":[]}')]
            assert (await answer_to(running, ask())).body == b'{"choices":[]}'
            assert engine.heads[-1].startswith(b"POST /below/v1/chat/completions HTTP/1.1\r\nhost: localhost:")
            assert b"authorization: Bearer sk-engine\r\n" in engine.heads[-1]
            engine.answer = events(b"data: [DONE]\n\n")
            assert (await answer_to(running, ask(stream=True))).events == [b"data: [DONE]"]
            assert (await answer_to(running, ask(model="other"))).json["error"]["code"] == "no_ready_replica"
            (other,) = running.gateway.pools[1].replicas
            async with asyncio.timeout(5):
                while not other.reason:  # noqa: ASYNC110 - a replica tells nobody that a probe failed
                    await asyncio.sleep(0.01)
            assert "CERTIFICATE_VERIFY_FAILED" in other.reason


async def test_usage_is_always_asked_for_and_left_out_where_the_client_did_not_ask(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        answer = await answer_to(running, ask(stream=True))
        assert json.loads(engine.requests[-1].body)["stream_options"] == {"include_usage": True}
        assert not any(b'"usage":{' in event for event in answer.events)
        asked = await answer_to(running, ask(stream=True, stream_options={"include_usage": True}))
        assert b'"usage":{' in asked.events[-2]
        await running.gateway.idle()
        assert 'headgate_tokens_total{model="m",type="output"} 8.0' in await running.metrics()


async def test_the_tokens_of_an_aborted_stream_are_those_that_were_sent(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(hang_after=4)
        async with await running.wire() as wire:
            await wire.request("POST", CHAT, ask(stream=True, max_tokens=100))
            events = wire.events()
            for _ in range(4):
                await anext(events)
            await events.aclose()
        await running.gateway.idle()
        assert 'headgate_tokens_total{model="m",type="output"} 3.0' in await running.metrics()


# deadlines


async def test_no_request_takes_longer_than_the_longest(tmp_path: Path) -> None:
    async with one_engine(tmp_path, timeouts={"total": 0.3}) as (engine, running):
        engine.timing = Timing(inter_token=0.05)
        whole = await answer_to(running, ask(max_tokens=1000))
        assert (whole.status, whole.json["error"]["code"]) == (504, "upstream_timeout")
        stream = await answer_to(running, ask(max_tokens=1000, stream=True))
        assert json.loads(stream.events[-2][6:])["error"]["code"] == "upstream_timeout"
        assert stream.events[-1] == b"data: [DONE]"
        await engine.until(lambda e: e.aborted == 2)


# relaying


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
async def test_a_whole_answer_arrives_as_the_engine_wrote_it(tmp_path: Path, size: int) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(event_bytes=size)
        direct = await Wire.connect_to(engine.address)
        await direct.request("POST", CHAT, ask(max_tokens=1), {"x-request-id": "r"})
        expected = await direct.response()
        await direct.close()
        answer = await answer_to(running, ask(max_tokens=1), x_request_id="r")
        assert answer.status == 200
        assert answer.json | {"created": 0} == expected.json | {"created": 0}
        assert answer.header("content-length") == str(len(answer.body))


async def test_an_answer_has_its_id_and_what_it_cost(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (_, running):
        answer = await answer_to(running, ask())
        assert (answer.header("x-request-id") or "").startswith("req-")
        assert int(answer.header("openai-processing-ms") or "-1") >= 0
        assert answer.header("server") is None
        stream = await answer_to(running, ask(stream=True))
        assert stream.header("content-type") == "text/event-stream; charset=utf-8"
        assert stream.header("cache-control") == "no-cache"
        assert stream.header("x-accel-buffering") == "no"


async def test_a_client_that_reads_slowly_slows_the_engine_down(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(event_bytes=100_000)
        async with await running.wire(limit=1024) as wire:
            await wire.request("POST", CHAT, ask(stream=True, max_tokens=200))
            await engine.until(lambda e: e.blocked == 1)
            events = [event async for event in wire.events()]
        assert events[-1] == b"data: [DONE]"
        assert sum(map(len, events)) > 200 * 100_000


async def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (_, running), await running.wire() as wire:
        body = json.dumps(ask(stream=True)).encode()
        await wire.send(
            b"POST %b HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (CHAT.encode(), len(body), body)
        )
        answer = await wire.response()
        assert answer.header("transfer-encoding") is None
        assert answer.events[-1] == b"data: [DONE]"
