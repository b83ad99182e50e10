"""A whole gateway that traces: its spans arrive, and a receiver that is none never delays a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.observe.tracing import exporter
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.otlp import OtlpReceiver, attributes_of, otlp_receiver, plain
from tests.kit.scripted import scripted_engine, whole
from tests.kit.wire import Wire

CHAT = "/v1/chat/completions"
ANSWER = whole(b'{"id":"1","choices":[{"message":{"content":"Hi"}}]}')
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def traced(
    answer: bytes = ANSWER, processes: int = 1, **tracing: Any
) -> AsyncIterator[tuple[RunningGateway, OtlpReceiver]]:
    async with otlp_receiver() as receiver, scripted_engine() as engine:
        engine.answer = [answer]
        tracing = {"endpoint": receiver.url, **tracing}
        async with gateway({"m": remote(engine.url)}, processes=processes, tracing=tracing) as running:
            yield running, receiver


async def ask(running: RunningGateway, **fields: Any) -> int:
    async with await running.wire() as wire:
        await wire.request("POST", CHAT, {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields})
        return (await wire.response()).status


async def until_counted(running: RunningGateway, *, exported: int) -> None:
    """Scrape until so many spans were exported, and none dropped."""
    text = ""
    try:
        async with asyncio.timeout(60):
            while f'headgate_trace_spans_total{{outcome="exported"}} {exported}.0' not in text:
                await asyncio.sleep(0.01)
                text = await running.metrics()
    except TimeoutError:
        raise AssertionError(text) from None
    assert 'headgate_trace_spans_total{outcome="dropped"} 0.0' in text


async def test_the_spans_of_a_request_arrive() -> None:
    async with traced() as (running, receiver):
        assert await ask(running) == 200
        request, attempt = await receiver.spans_named(f"POST {CHAT}", "chat m")
        assert attempt.parent_span_id == request.span_id
        assert attributes_of(attempt)["headgate.replica"] == "m-0"
        (resource,) = receiver.requests[0].resource_spans
        assert plain(resource.resource.attributes).keys() == {
            "service.name",
            "service.version",
            "service.instance.id",
        }
        await until_counted(running, exported=2)


async def test_a_stream_arrives_in_parts() -> None:
    data = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'
    async with traced(STREAM + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)) as (running, receiver):
        assert await ask(running, stream=True) == 200
        attempt, first_byte, stream = await receiver.spans_named("chat m", "first byte", "stream")
        assert {first_byte.parent_span_id, stream.parent_span_id} == {attempt.span_id}
        assert first_byte.end_time_unix_nano == stream.start_time_unix_nano


async def test_a_bucket_of_openmetrics_leads_to_the_trace() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with traced(sample_ratio=0.0) as (running, _):
        assert await ask(running) == 200
        async with await running.wire() as wire:
            headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
            await wire.request("POST", CHAT, {"model": "m", "messages": []}, headers)
            assert (await wire.response()).status == 200
        async with await Wire.connect_to(running.control) as wire:
            await wire.request("GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
            text = (await wire.response()).body.decode()
        families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        found = {sample.name: sample.exemplar for family in families for sample in family.samples if sample.exemplar}
        assert found.keys() == {"headgate_request_duration_seconds_bucket", "headgate_overhead_seconds_bucket"}
        assert {exemplar.labels["trace_id"] for exemplar in found.values()} == {trace_id}
        assert trace_id not in await running.metrics()


async def test_requests_are_answered_while_the_receiver_hangs_and_the_end_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporter, "_TIMEOUT", 3600.0)
    async with traced() as (running, receiver):
        receiver.hangs = True
        assert await ask(running) == 200
        await receiver.until_asked(1)
        for _ in range(20):
            assert await ask(running) == 200
        async with asyncio.timeout(60):
            await running.gateway.stop()


async def test_without_a_receiver_requests_are_answered_and_their_spans_counted_as_dropped() -> None:
    async with scripted_engine() as engine:
        engine.answer = [ANSWER]
        tracing = {"endpoint": "http://127.0.0.1:1"}
        async with gateway({"m": remote(engine.url)}, tracing=tracing) as running:
            assert await ask(running) == 200
            assert 'headgate_trace_spans_total{outcome="dropped"} 0.0' in await running.metrics()


@pytest.mark.slow
async def test_each_process_sends_its_own_spans_and_all_are_counted() -> None:
    async with traced(processes=2) as (running, receiver):
        for _ in range(40):
            assert await ask(running) == 200
        await until_counted(running, exported=80)
        resources = [each.resource_spans[0].resource.attributes for each in receiver.requests]
        assert len({plain(each)["service.instance.id"] for each in resources}) == 2
