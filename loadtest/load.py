"""Send requests and note what comes back, in callbacks alone, so that the client is not what is measured.

The connections are the gateway's own to its engines: raw, kept alive, without a task per request.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from time import perf_counter, process_time
from typing import Any

import msgspec

from gateway.api.dialects.usage import Usage
from gateway.http import sse
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.http.response_head import EVENTS, ResponseHead
from gateway.http.upstream import Receiver, UpstreamConnection, UpstreamError
from loadtest.record import Record
from loadtest.workload import Request

_CONNECT_SECONDS = 10.0

_SHOWN_CHARACTERS = 300

_REFUSED = (429, 503)
"""The statuses of a server that may say when to come back."""

TIMEOUT = 300.0
"""How long a response may take in seconds, if nothing else is said."""


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None


class _Event(msgspec.Struct):
    """What is read of one event. The gateway reads the same in a way that keeps every byte, which costs more."""

    choices: list[_Choice] | None = None
    error: Any = None
    usage: Usage | None = None

    @property
    def has_content(self) -> bool:
        """Whether any choice brings something to read; a role alone is nothing."""
        for choice in self.choices or ():
            delta = choice.delta
            if choice.text or (
                delta is not None
                and (
                    delta.content
                    or delta.reasoning
                    or delta.reasoning_content
                    or delta.refusal
                    or delta.tool_calls
                    or delta.function_call
                )
            ):
                return True
        return False


class _Whole(msgspec.Struct):
    """What is read of a whole response: its usage, or an error, which some servers send with status 200 too."""

    error: Any = None
    usage: Usage | None = None


class _Refusal(msgspec.Struct):
    error: Any = None


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for what is not JSON, not UTF-8, or nested without an end."""

_EVENT = msgspec.json.Decoder(_Event)
_ANSWER = msgspec.json.Decoder(_Whole)
_REFUSAL = msgspec.json.Decoder(_Refusal)


class InFlightRequest(Receiver):
    """One request under way: the receiver of its response, which fills in its record."""

    __slots__ = (
        "_body",
        "_connection",
        "_done",
        "_load",
        "_marked",
        "_over",
        "_splitter",
        "_timer",
        "record",
        "request",
    )

    def __init__(self, load: Load, request: Request, record: Record, done: Callable[[InFlightRequest], None]) -> None:
        self.record = record
        self._load = load
        self.request = request
        self._done = done
        self._connection: UpstreamConnection | None = None
        self._splitter: sse.EventSplitter | None = None
        self._marked = False
        """Whether the end marker of a stream has come: without it, nobody knows whether the rest was lost."""
        self._body: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def start(self) -> None:
        """Send the request, on an idle connection or a new one."""
        load = self._load
        self.record.sent = load.now
        if self.request.leave_after is not None:
            self._timer = asyncio.get_running_loop().call_later(self.request.leave_after, self._leave)
        connection = load.connections.take()
        if connection is not None:
            self._send(connection)
        else:
            load.connections.connect(self._send, self.receive_failure)

    def give_up(self, why: str) -> None:
        """Close the connection and count the request as failed."""
        self.record.error = why
        self._abort()

    def receive_head(self, head: ResponseHead) -> None:
        """Note the status, and whether events follow."""
        self.record.status = head.status
        if head.status in _REFUSED:
            self.record.retry_after = _retry_after(head)
        if head.kind is EVENTS:
            self._splitter = sse.EventSplitter()

    def receive_data(self, data: bytes) -> None:
        """Note when content came."""
        if self._splitter is None:
            self._body.append(data)
            return
        now = self._load.now
        for event in sse.split(self._splitter.feed(data)):
            self._read(sse.data_of(event), now)

    def receive_end(self) -> None:
        """Sum up."""
        self._connection = None
        record = self.record
        if record.status != 200:
            record.error = f"status {record.status}"
            record.detail = _refusal(b"".join(self._body))
        elif self._splitter is None:
            record.last = self._load.now
            self._read_whole(b"".join(self._body))
        elif record.error is None and record.last is None:
            record.error = "a stream without content"
        elif record.error is None and not self._marked:
            record.error = "a stream without its end marker, data: [DONE]"
        self._finish()

    def receive_failure(self, error: UpstreamError) -> None:
        """Note the failure; a connection that was closed while it was idle is replaced, like every client does."""
        self._connection = None
        if self._over:
            return
        if error.stale:
            self._load.connections.connect(self._send, self.receive_failure)
            return
        self.record.error = str(error)
        self._finish()

    # inside

    def _send(self, connection: UpstreamConnection) -> None:
        if self._over:
            connection.abort()
            return
        self._connection = connection
        connection.send(self._load.head_for(self.request), self.request.body, self)

    def _leave(self) -> None:
        """Go away in the middle of it, as people do."""
        self.record.left = True
        self._abort()

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()
        self._finish()

    def _finish(self) -> None:
        self._over = True
        self.record.ended = self._load.now
        if self._timer is not None:
            self._timer.cancel()
        self._done(self)

    def _read(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self._marked = True
            return
        if not data:
            return
        record = self.record
        try:
            event = _EVENT.decode(data)
        except _UNREADABLE:
            record.error = "an event that is not JSON"
            return
        if event.error:
            record.error = "an error within the stream"
            record.detail = _message(event.error)
        if event.has_content:
            if record.last is None:
                record.first = now
            else:
                record.gaps.append(now - record.last)
            record.last = now
        self._meter(event.usage)

    def _read_whole(self, body: bytes) -> None:
        try:
            answer = _ANSWER.decode(body)
        except _UNREADABLE:
            self.record.error = "a response that is not JSON"
            return
        if answer.error:
            self.record.error = "an error in place of a response"
            self.record.detail = _message(answer.error)
        self._meter(answer.usage)

    def _meter(self, usage: Usage | None) -> None:
        if usage is not None:
            self.record.tokens_in = usage.prompt_tokens or 0
            self.record.tokens_out = usage.completion_tokens or 0


class Load:
    """A load on one address: ``http://…``, ``https://…`` or ``unix:…``. ``now`` is in seconds from its making.

    ``key`` is sent as an API key; ``headers`` are more headers, as the SDKs send them. With ``retries`` a client that
    is refused sends its request again when the server says so (``retry-after-ms`` or ``retry-after``), however often.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float = TIMEOUT,
        retries: bool = False,
    ) -> None:
        self.address = Address.parse(url)
        self.connections = ConnectionPool(self.address, connect_timeout=_CONNECT_SECONDS)
        self.records: list[Record] = []
        self.cpu_seconds = 0.0
        self.failed = 0
        self.finished = 0
        self._timeout = timeout
        self._retries = retries
        self._coming_back: set[asyncio.TimerHandle] = set()
        lines = [("content-type", "application/json"), ("accept", "application/json"), *headers]
        if key is not None:
            lines.append(("authorization", f"Bearer {key}"))
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines).encode()
        self._heads: dict[tuple[str, int], bytes] = {}
        self._under_way: dict[InFlightRequest, None] = {}
        self._stopped: asyncio.Event = asyncio.Event()
        self._all_done = asyncio.Event()
        self._began = perf_counter()

    def __repr__(self) -> str:
        return f"<Load {self.address.url} [{len(self.records)} sent, {self.under_way} under way]>"

    @property
    def under_way(self) -> int:
        """How many requests wait for their response's end now."""
        return len(self._under_way)

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopped.is_set()

    @property
    def now(self) -> float:
        """Seconds since the load was made."""
        return perf_counter() - self._began

    def head_for(self, request: Request) -> bytes:
        """Give the head of a request, which is written once for all of the same path and length."""
        key = (request.path, len(request.body))
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = b"POST %b HTTP/1.1\r\nhost: %b\r\n%bcontent-length: %d\r\n\r\n" % (
                self.address.target(request.path.encode("ascii")),
                self.address.host_header,
                self._headers,
                len(request.body),
            )
        return head

    async def open_loop(self, requests: Sequence[Request], moments: Sequence[float]) -> None:
        """Send ``requests``, again if they are too few, at ``moments`` whatever the responses do; wait for the last.

        Each record says by how much its request was late: a client that cannot keep up shows.
        """
        start = self.now
        loop = asyncio.get_running_loop()
        fired = asyncio.Event()
        number = 0

        def fire() -> None:
            nonlocal number
            while number < len(moments) and moments[number] <= self.now - start and not self.stopped:
                self._request(requests[number % len(requests)], start + moments[number], self._ended)
                number += 1
            if number < len(moments) and not self.stopped:
                # Never more than a second ahead, so that a stop is seen soon.
                loop.call_later(min(1.0, moments[number] - (self.now - start)), fire)
            else:
                fired.set()

        with self._undisturbed():
            fire()
            await fired.wait()
            await self._drained()

    async def closed_loop(self, requests: Sequence[Request], clients: int, seconds: float) -> None:
        """Let ``clients`` each send one request after the other for ``seconds``; wait for their last responses."""
        end = self.now + seconds
        number = 0

        def next_one() -> None:
            nonlocal number
            if self.now < end and not self.stopped:
                self._request(requests[number % len(requests)], self.now, answered)
                number += 1

        def answered(in_flight: InFlightRequest) -> None:
            next_one()
            self._ended(in_flight)

        with self._undisturbed():
            for _ in range(clients):
                next_one()
            await self._drained()

    def stop(self) -> None:
        """Send nothing more, and give up on what is under way."""
        self._stopped.set()
        for timer in self._coming_back:
            timer.cancel()
        self._coming_back.clear()
        self._all_done.set()
        for in_flight in list(self._under_way):
            in_flight.give_up("the test was stopped")

    def close(self) -> None:
        """Close every connection."""
        self.connections.close()

    # inside

    def _request(
        self, request: Request, planned: float, done: Callable[[InFlightRequest], None], attempt: int = 1
    ) -> None:
        record = Record(planned, kind=request.kind, asked_tokens=request.tokens, attempt=attempt)
        self.records.append(record)
        in_flight = InFlightRequest(self, request, record, done)
        self._under_way[in_flight] = None
        in_flight.start()

    def _ended(self, in_flight: InFlightRequest) -> None:
        del self._under_way[in_flight]
        self.finished += 1
        self.failed += in_flight.record.error is not None
        if self._retries and in_flight.record.retry_after is not None and not self.stopped:
            self._send_again(in_flight, in_flight.record.retry_after)
        if not self._under_way:
            self._all_done.set()

    def _send_again(self, refused: InFlightRequest, after: float) -> None:
        due = self.now + after

        def send() -> None:
            self._coming_back.discard(timer)
            self._request(refused.request, due, self._ended, refused.record.attempt + 1)

        timer = asyncio.get_running_loop().call_later(after, send)
        self._coming_back.add(timer)

    async def _drained(self) -> None:
        while self._under_way or self._coming_back:
            self._all_done.clear()
            await self._all_done.wait()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Count the CPU time, give up on responses that take too long, and keep the garbage collector out of it.

        What is noted of requests holds no cycles, but walking through it all again and again takes milliseconds.
        """
        used = process_time()
        collected = gc.isenabled()
        gc.disable()
        sweeping = asyncio.get_running_loop().create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            if collected:
                gc.enable()
            self.cpu_seconds += process_time() - used

    async def _sweep(self) -> None:
        """Give up on what was sent too long ago; the oldest stand first, so no other deadline comes before theirs."""
        while True:
            oldest = next(iter(self._under_way), None)
            await asyncio.sleep(self._timeout if oldest is None else self._left_for(oldest))
            for in_flight in list(takewhile(lambda each: self._left_for(each) <= 0, self._under_way)):
                in_flight.give_up(f"no whole response within {self._timeout:g} s")

    def _left_for(self, in_flight: InFlightRequest) -> float:
        """Say how many seconds a request has left; less than 0 is nothing for ``asyncio.sleep``."""
        return (in_flight.record.sent or 0.0) + self._timeout - self.now


def _retry_after(head: ResponseHead) -> float | None:
    """Give the seconds after which to come back, as OpenAI's clients read them; a date is not understood."""
    for name, per_second in ((b"retry-after-ms", 1000), (b"retry-after", 1)):
        value = head.first(name)
        if value is not None and value.isdigit():
            return int(value) / per_second
    return None


def _refusal(body: bytes) -> str:
    """Find the message in the body of an error response; what is no such body is shown as it is."""
    try:
        error = _REFUSAL.decode(body).error
    except _UNREADABLE:
        error = None
    return _message(error) if error else _shown(body.decode("utf-8", "replace"))


def _message(error: Any) -> str:
    """Find the message in an error object, in OpenAI's shape or in that of vLLM's 401, which is a string."""
    return _shown(str(error["message"] if isinstance(error, dict) and "message" in error else error))


def _shown(text: str) -> str:
    return " ".join(text[:_SHOWN_CHARACTERS].split())
