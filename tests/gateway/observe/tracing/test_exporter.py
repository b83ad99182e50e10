"""Spans reach a receiver; one that hangs, is gone or answers nonsense costs spans and is told once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter, time

import pytest

from gateway.core.context import RequestHead
from gateway.core.recording import Recording
from gateway.observe.tracing import exporter as module
from gateway.observe.tracing.exporter import BATCH, MAX_WAITING, SpanExporter
from gateway.observe.tracing.otlp import TraceEncoder
from gateway.observe.tracing.request_spans import EndedRequest
from tests.kit.eventually import eventually
from tests.kit.otlp import OtlpReceiver, otlp_receiver, plain

SPANS = 2
"""How many spans the requests here have."""


def ended(number: int = 0) -> EndedRequest:
    """Return a request that is over, and waited in a queue."""
    recording = Recording("a" * 32, f"{number + 1:016x}", "", "", waits=[(1.0, 2.0)])
    head = RequestHead("10.0.0.1", b"POST", endpoint="/v1/chat/completions")
    return EndedRequest(recording, head, f"r-{number}", "m", 200, None, False, 1.0, None, 3.0, 0, 0, 0)


class Exporting:
    """An exporter and its receiver."""

    def __init__(self, receiver: OtlpReceiver, url: str = "") -> None:
        self.receiver = receiver
        self.counts = {"exported": 0, "dropped": 0}
        encoder = TraceEncoder({"service.name": "headgate"}, "1.0")
        self.exporter = SpanExporter(url or f"{receiver.url}/v1/traces", {"x-key": "k"}, encoder, self.counts)

    async def counted(self, exported: int, dropped: int) -> None:
        """Wait until so many spans were exported and dropped."""
        await eventually(lambda: self.counts == {"exported": exported, "dropped": dropped})


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.01)
    monkeypatch.setattr(module, "_RETRY_AFTER", (0.01, 0.01))


@asynccontextmanager
async def exporting(url: str = "") -> AsyncIterator[Exporting]:
    async with otlp_receiver() as receiver:
        here = Exporting(receiver, url)
        here.exporter.start()
        yield here
        await here.exporter.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_spans_arrive_with_the_resource_and_the_headers() -> None:
    async with exporting() as here:
        here.exporter.add(ended())
        request, queue = await here.receiver.spans_named("POST /v1/chat/completions", "queue")
        await here.counted(SPANS, 0)
    assert queue.parent_span_id == request.span_id
    assert request.end_time_unix_nano - request.start_time_unix_nano == 2_000_000_000
    (resource,) = here.receiver.requests[0].resource_spans
    assert plain(resource.resource.attributes) == {"service.name": "headgate"}
    assert here.receiver.heads[0]["x-key"] == "k"
    assert here.receiver.heads[0]["content-type"] == "application/json"


async def test_times_are_those_of_the_calendar() -> None:
    async with exporting() as here:
        now, clock = time(), perf_counter()
        here.exporter.add(ended()._replace(received_at=clock, ended_at=clock + 1.0))
        (request,) = await here.receiver.spans_named("POST /v1/chat/completions")
    assert request.start_time_unix_nano / 1e9 == pytest.approx(now, abs=0.1)


async def test_many_requests_are_sent_in_batches() -> None:
    async with exporting() as here:
        for number in range(2 * BATCH + 1):
            here.exporter.add(ended(number))
        await here.counted((2 * BATCH + 1) * SPANS, 0)
    assert len({span.span_id for span in here.receiver.spans}) == (2 * BATCH + 1) * SPANS
    assert len(here.receiver.requests) == 3


async def test_what_waits_is_sent_at_the_end() -> None:
    async with exporting() as here:
        here.exporter.add(ended())
    assert len(here.receiver.spans) == SPANS


async def test_a_receiver_that_is_busy_is_asked_again() -> None:
    async with exporting() as here:
        here.receiver.answers = [(503, b""), (429, b"")]
        here.exporter.add(ended())
        await here.counted(SPANS, 0)
    assert here.receiver.asked == 3


@pytest.mark.parametrize(
    ("status", "answer", "reason", "times"),
    [
        (400, b"{}", "it answered 400", 1),
        (302, b"", "it answered 302", 1),
        (503, b"", "it answered 503", 3),
        (200, b"<html>Welcome</html>", "its answer is not that of an OTLP receiver", 1),
        (200, b"[]", "its answer is not that of an OTLP receiver", 1),
        (200, b"\xff\xfe", "its answer is not that of an OTLP receiver", 1),
        (200, b"x" * 100_000, "its answer is not that of an OTLP receiver", 1),
    ],
)
async def test_spans_that_are_not_taken_are_counted_and_told_once(
    status: int, answer: bytes, reason: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with exporting() as here:
        for number in range(1, 4):
            here.receiver.answers = [(status, answer)] * times
            here.exporter.add(ended(number))
            await here.counted(0, number * SPANS)
        assert here.receiver.asked == 3 * times
        told = f"spans are dropped, because {here.receiver.url}/v1/traces takes none: {reason}"
        assert warnings(caplog) == [told]
        here.exporter.add(ended())
        await here.counted(SPANS, 3 * SPANS)
    assert warnings(caplog) == [told, f"spans are taken again by {here.receiver.url}/v1/traces"]


async def test_spans_that_a_receiver_rejects_are_counted_as_dropped() -> None:
    async with exporting() as here:
        here.receiver.answers = [(200, b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}')]
        here.exporter.add(ended())
        await here.counted(SPANS - 1, 1)


async def test_an_empty_answer_says_that_all_is_well() -> None:
    async with exporting() as here:
        here.receiver.answers = [(200, b"")]
        here.exporter.add(ended())
        await here.counted(SPANS, 0)


async def test_a_receiver_that_is_gone_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with exporting("http://127.0.0.1:1/v1/traces") as here:
        for number in range(1, 3):
            here.exporter.add(ended())
            await here.counted(0, number * SPANS)
    (told,) = warnings(caplog)
    assert told.startswith("spans are dropped, because http://127.0.0.1:1/v1/traces takes none: Cannot connect")


async def test_a_receiver_that_speaks_no_http_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await reader.read(1)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with exporting(f"http://127.0.0.1:{port}/v1/traces") as here:
            here.exporter.add(ended())
            await here.counted(0, SPANS)
    assert len(warnings(caplog)) == 1


async def test_a_receiver_that_hangs_costs_spans_and_bounds_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_SECONDS", 0.01)
    async with exporting() as here:
        here.receiver.hangs = True
        here.exporter.add(ended())
        await here.receiver.until_asked(1)
        for number in range(MAX_WAITING + 10):
            here.exporter.add(ended(number))
        assert here.counts == {"exported": 0, "dropped": 10 * SPANS}
        assert repr(here.exporter) == f"<SpanExporter {here.receiver.url}/v1/traces [open; 2048 requests waiting]>"
    # Nothing is lost without being counted.
    assert here.counts == {"exported": 0, "dropped": (1 + MAX_WAITING + 10) * SPANS}


async def test_a_receiver_that_hangs_is_given_up_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.05)
    async with exporting() as here:
        here.receiver.hangs = True
        here.exporter.add(ended())
        await here.counted(0, SPANS)
    assert [told.partition("takes none: ")[2] for told in warnings(caplog)] == ["no answer within 0.05 s"]
