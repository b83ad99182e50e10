"""A request's way to real sockets and simulated engines: what a conversation in memory cannot show."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import trustme

from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import Faults
from tests.gateway.exchange.asking import CHAT, answer_to, ask, one_engine
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import events, scripted_engine, whole
from tests.kit.wire import Wire

# admission


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
            "other": remote(engine.url.replace("localhost", "127.0.0.1"), required=False, hold=0),
        }
        async with gateway(models, ready=["m"]) as running:
            engine.answer = [whole(b'{"choices":[]}')]
            assert (await answer_to(running, ask())).body == b'{"choices":[]}'
            assert engine.heads[-1].startswith(b"POST /below/v1/chat/completions HTTP/1.1\r\nhost: localhost:")
            assert b"authorization: Bearer sk-engine\r\n" in engine.heads[-1]
            engine.answer = events(b"data: [DONE]\n\n")
            assert (await answer_to(running, ask(stream=True))).events == [b"data: [DONE]"]
            assert (await answer_to(running, ask(model="other"))).json["error"]["code"] == "no_ready_replica"
            (other,) = running.gateway.plane.registry.pools[1].replicas
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
        await running.gateway.plane.idle()
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
        await running.gateway.plane.idle()
        assert 'headgate_tokens_total{model="m",type="output"} 3.0' in await running.metrics()


# deadlines


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


async def test_a_client_that_reads_slowly_slows_the_engine_down(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(event_bytes=100_000)
        async with await running.wire(limit=1024) as wire:
            await wire.request("POST", CHAT, ask(stream=True, max_tokens=200))
            await engine.until(lambda e: e.blocked == 1)
            events = [event async for event in wire.events()]
        assert events[-1] == b"data: [DONE]"
        assert sum(map(len, events)) > 200 * 100_000
