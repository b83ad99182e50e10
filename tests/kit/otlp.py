"""A receiver of OTLP over HTTP that reads JSON and Protocol Buffers with OpenTelemetry's own messages."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web
from google.protobuf import json_format  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.kit.eventually import PATIENCE

_IDS = ("traceId", "spanId", "parentSpanId")


class OtlpReceiver:
    """Keeps the requests that it gets. A test may have it answer otherwise, or not at all (``hangs``)."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[ExportTraceServiceRequest] = []
        self.heads: list[Mapping[str, str]] = []
        self.asked = 0
        """How many requests have come, whether they were taken or not."""
        self.answers: list[tuple[int, bytes]] = []
        """What the next requests are answered; then they are taken, with 200."""
        self.hangs = False
        self._changed = asyncio.Condition()

    @property
    def spans(self) -> list[Span]:
        """All spans that have come."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def spans_named(self, *names: str, seconds: float = 120.0, trace_id: str = "") -> list[Span]:
        """Wait until there is a span of each name, and give those, in that order; the last of each name.

        With a ``trace_id``, only those of this trace count. An engine exports its spans every five seconds.
        """

        def found() -> dict[str, Span]:
            return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id or not trace_id}

        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: set(names) <= found().keys())
        return [found()[name] for name in names]

    async def until_asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self.asked >= times)

    async def serve(self, request: web.Request) -> web.Response:
        """Take one request."""
        body = await request.read()
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        answer = self.answers.pop(0) if self.answers and not self.hangs else None
        if answer is None and not self.hangs:
            self.requests.append(decoded(request.content_type, body))
        async with self._changed:
            self.asked += 1
            self._changed.notify_all()
        if self.hangs:
            await asyncio.sleep(3600)
        status, said = answer or (200, b"{}" if request.content_type == "application/json" else b"")
        return web.Response(status=status, body=said, content_type=request.content_type)


class ThreadedReceiver:
    """A receiver on a loop of its own, for tests without one."""

    def __init__(self, receiver: OtlpReceiver, loop: asyncio.AbstractEventLoop) -> None:
        self.url = receiver.url
        self._receiver = receiver
        self._loop = loop

    def spans_named(self, *names: str, trace_id: str) -> list[Span]:
        """Wait until there is a span of each name in a trace, and give those, in that order."""
        waiting = self._receiver.spans_named(*names, trace_id=trace_id)
        return asyncio.run_coroutine_threadsafe(waiting, self._loop).result()


@contextmanager
def threaded_receiver() -> Iterator[ThreadedReceiver]:
    """Run a receiver in a thread."""
    with asyncio.Runner() as runner:
        loop, context = runner.get_loop(), otlp_receiver()
        receiver = runner.run(context.__aenter__())
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield ThreadedReceiver(receiver, loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            runner.run(context.__aexit__(None, None, None))


def decoded(content_type: str, body: bytes) -> ExportTraceServiceRequest:
    """Read what was exported; anything that OpenTelemetry's messages do not know is an error."""
    if content_type != "application/json":
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        return request
    request = ExportTraceServiceRequest()
    json_format.ParseDict(_with_base64_ids(json.loads(body)), request)
    return request


def attributes_of(span: Span) -> dict[str, Any]:
    """Give the attributes of a span as plain values."""
    return plain(span.attributes)


def plain(attributes: Any) -> dict[str, Any]:
    """Give attributes as plain values."""
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


def _with_base64_ids(given: Any) -> Any:
    """Write ids as Protocol Buffers' own JSON does: OTLP has them in hexadecimal, and differs in nothing else."""
    if isinstance(given, list):
        return [_with_base64_ids(each) for each in given]
    if not isinstance(given, dict):
        return given
    return {
        name: b64encode(bytes.fromhex(value)).decode() if name in _IDS else _with_base64_ids(value)
        for name, value in given.items()
    }


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[OtlpReceiver]:
    """Run a receiver at a free port."""
    receiver = OtlpReceiver()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/v1/traces", receiver.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
