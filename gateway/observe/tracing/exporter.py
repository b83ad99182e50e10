"""Sends spans to an OTLP receiver over HTTP, in batches, from a task of its own on the data plane's loop.

A receiver that is slow, gone or none at all costs spans and never a request: what waits is bounded, and what finds no
room or cannot be sent is counted as dropped. The spans of a request are made and written here, a few requests at a
time, so that no event of a stream waits for many.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from itertools import islice
from time import perf_counter, time

import aiohttp
import msgspec

from gateway.core.tasks import cancelled
from gateway.observe.tracing.otlp import TraceEncoder
from gateway.observe.tracing.request_spans import EndedRequest, spans_of

_LOG = logging.getLogger(__name__)

MAX_WAITING = 2048
"""Requests whose spans may wait to be sent; those of further ones are dropped."""

BATCH = 256
"""Requests whose spans are sent at once, and as soon as so many wait."""

_WRITTEN_AT_ONCE = 8
"""So many are written before the loop does something else: about 0.2 ms."""

_INTERVAL = 1.0
"""Longest wait for a batch to be full, in seconds."""

_TIMEOUT = 10.0
"""Longest wait for the receiver, in seconds; OpenTelemetry's own exporters wait as long."""

_RETRY_AFTER = (1.0, 4.0)
"""How long to wait before a batch is sent again, in seconds."""

_RETRYABLE = frozenset({429, 502, 503, 504})
"""Statuses after which a batch may be sent again, by the OTLP specification."""

_CLOSE_SECONDS = 2.0
"""How long the last spans may take to be sent when the gateway ends."""

_MAX_RESPONSE_BYTES = 65_536


class _PartialSuccess(msgspec.Struct, rename="camel"):
    rejected_spans: int = 0
    error_message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    """What a receiver says of a request that it has taken."""

    partial_success: _PartialSuccess | None = None


# Lax: 64-bit numbers are texts in OTLP's JSON.
_RESPONSE = msgspec.json.Decoder(_Response, strict=False)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a batch was not taken, and whether it may be sent again."""

    reason: str
    retryable: bool


class SpanExporter:
    """Takes requests that are over, and sends their spans.

    ``url`` is asked with ``headers``; ``counts`` gets the numbers of spans that were ``exported`` and ``dropped``.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], encoder: TraceEncoder, counts: MutableMapping[str, int]
    ) -> None:
        self._url = url
        self._headers = {**headers, "content-type": "application/json"}
        self._encoder = encoder
        self._counts = counts
        self._waiting: deque[EndedRequest] = deque()
        self._wake = asyncio.Event()
        self._ending = False
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "failing" if self._failing else "ending" if self._ending else "open"
        return f"<SpanExporter {self._url} [{state}; {len(self._waiting)} requests waiting]>"

    def add(self, request: EndedRequest) -> None:
        """Take a request that is over, or drop its spans where too many wait."""
        waiting = self._waiting
        if len(waiting) >= MAX_WAITING:
            self._counts["dropped"] += request.number_of_spans
            return
        waiting.append(request)
        if len(waiting) == BATCH:
            self._wake.set()

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Send what waits, as far as that is done within a few seconds, and stop."""
        self._ending = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
            await cancelled([self._task])
        self._counts["dropped"] += sum(request.number_of_spans for request in self._waiting)
        self._waiting.clear()

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            while self._waiting or not self._ending:
                await self._full_or_late()
                while self._waiting:
                    await self._export(session, self._batch())

    def _batch(self) -> list[EndedRequest]:
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]

    async def _full_or_late(self) -> None:
        """Wait for a whole batch, for the end, or until those that wait have waited long enough."""
        if not self._ending:
            try:
                async with asyncio.timeout(_INTERVAL):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()

    async def _export(self, session: aiohttp.ClientSession, batch: list[EndedRequest]) -> None:
        """Send the spans of some requests, again where that may help, and count what became of them."""
        spans = sum(request.number_of_spans for request in batch)
        exported = 0
        try:
            exported = spans - await self._send(session, await self._written(batch), spans)
        finally:
            self._counts["exported"] += exported
            self._counts["dropped"] += spans - exported

    async def _send(self, session: aiohttp.ClientSession, body: bytes, spans: int) -> int:
        """Send a batch of so many spans, again where that may help; return how many were not taken."""
        for delay in (*_RETRY_AFTER, None):
            rejected = await self._post(session, body)
            if not isinstance(rejected, _Failure):
                self._succeeded()
                return min(rejected, spans)
            if delay is None or self._ending or not rejected.retryable:
                self._failed(rejected)
                break
            await self._rest(delay)
        return spans

    async def _written(self, batch: list[EndedRequest]) -> bytes:
        epoch, parts, requests = time() - perf_counter(), [], iter(batch)
        while some := list(islice(requests, _WRITTEN_AT_ONCE)):
            parts += [self._encoder.spans(spans_of(request, epoch)) for request in some]
            await asyncio.sleep(0)
        return self._encoder.whole(parts)

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> int | _Failure:
        """Send a batch; tell how many of its spans the receiver has rejected, or why it has taken none."""
        try:
            async with session.post(self._url, data=body, allow_redirects=False) as response:
                said = await _beginning_of(response)
        except TimeoutError:
            return _Failure(f"no answer within {_TIMEOUT:g} s", retryable=True)
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            return _Failure(reason, retryable=isinstance(error, aiohttp.ClientConnectionError | OSError))
        if response.status != 200:
            return _Failure(f"it answered {response.status}", retryable=response.status in _RETRYABLE)
        return _rejected(said)

    async def _rest(self, seconds: float) -> None:
        """Wait, or until the gateway ends."""
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                while not self._ending:
                    await self._wake.wait()
                    self._wake.clear()
        except TimeoutError:
            pass

    def _failed(self, failure: _Failure) -> None:
        if not self._failing:
            self._failing = True
            _LOG.warning("spans are dropped, because %s takes none: %s", self._url, failure.reason)

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = False
            _LOG.warning("spans are taken again by %s", self._url)


async def _beginning_of(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end, or no further than a receiver's can be long."""
    said = b""
    async for piece in response.content.iter_any():
        said += piece
        if len(said) > _MAX_RESPONSE_BYTES:
            break
    return said


def _rejected(said: bytes) -> int | _Failure:
    """Read a receiver's answer to a batch; an empty one says that all is well."""
    if not said:
        return 0
    try:
        partial = _RESPONSE.decode(said).partial_success
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Failure("its answer is not that of an OTLP receiver", retryable=False)
    if partial is None or not partial.rejected_spans:
        return 0
    _LOG.debug("the receiver rejected %d spans: %s", partial.rejected_spans, partial.error_message)
    return partial.rejected_spans
