"""Send requests and note what comes back, in callbacks alone, so that the client is not what is measured.

The connections are the gateway's own to its engines: raw, kept alive, without a task per request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter, process_time

import msgspec

from gateway.api.completions import Chunk
from gateway.api.usage import Metered, Usage
from gateway.http import sse
from gateway.http.answer import AnswerHead
from gateway.http.client import Address, ConnectionPool, UpstreamConnection, UpstreamError
from loadtest.record import Record
from loadtest.workload import Ask

_CONNECT_SECONDS = 10.0


class _Event(Chunk):
    """A chunk as the gateway reads it, and its usage."""

    usage: Usage | None = None


_EVENT = msgspec.json.Decoder(_Event)
_ANSWER = msgspec.json.Decoder(Metered)


class Asking:
    """One request under way: the receiver of its answer, which fills in its record."""

    __slots__ = ("_ask", "_body", "_connection", "_done", "_load", "_record", "_splitter", "_timer")

    def __init__(self, load: Load, ask: Ask, record: Record, done: Callable[[], None]) -> None:
        self._load = load
        self._ask = ask
        self._record = record
        self._done = done
        self._connection: UpstreamConnection | None = None
        self._splitter: sse.EventSplitter | None = None
        self._body: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send the request, on an idle connection or a new one."""
        record, load = self._record, self._load
        record.sent = load.now
        if self._ask.leave_after is not None:
            self._timer = asyncio.get_running_loop().call_later(self._ask.leave_after, self._leave)
        connection = load.connections.take()
        if connection is not None:
            self._send(connection)
        else:
            load.connections.connect(self._send, self.answer_failed)

    def answer_head(self, head: AnswerHead) -> None:
        """Note the status, and whether events follow."""
        self._record.status = head.status
        if head.is_events:
            self._splitter = sse.EventSplitter()

    def answer_data(self, data: bytes) -> None:
        """Note when content came."""
        if self._splitter is None:
            self._body.append(data)
            return
        now = self._load.now
        for event in sse.split(self._splitter.feed(data)):
            self._read(sse.data_of(event), now)

    def answer_end(self) -> None:
        """Sum up."""
        self._connection = None
        record = self._record
        if record.status != 200:
            record.error = f"status {record.status}"
        elif self._splitter is None:
            record.last = self._load.now
            self._read_whole(b"".join(self._body))
        elif record.last is None and record.error is None:
            record.error = "a stream without content"
        self._finish()

    def answer_failed(self, error: UpstreamError) -> None:
        """Note the failure; a connection that was closed while it was idle is replaced, like every client does."""
        self._connection = None
        if self._record.left:
            return
        if error.stale:
            self._load.connections.connect(self._send, self.answer_failed)
            return
        self._record.error = str(error)
        self._finish()

    # inside

    def _send(self, connection: UpstreamConnection) -> None:
        if self._record.left:
            connection.abort()
            return
        self._connection = connection
        connection.send(self._load.head_for(self._ask), self._ask.body, self)

    def _leave(self) -> None:
        """Go away in the middle of it, as people do."""
        self._record.left = True
        if self._connection is not None:
            self._connection.abort()
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._done()

    def _read(self, data: bytes, now: float) -> None:
        if not data or data == b"[DONE]":
            return
        record = self._record
        try:
            event = _EVENT.decode(data)
        except msgspec.DecodeError:
            record.error = "an event that is not JSON"
            return
        if bytes(event.error) != b"null":
            record.error = f"an error within the stream: {bytes(event.error)[:200].decode('utf-8', 'replace')}"
        if event.has_content:
            if record.last is None:
                record.first = now
            else:
                record.gaps.append(now - record.last)
            record.last = now
        self._meter(event.usage)

    def _read_whole(self, body: bytes) -> None:
        try:
            self._meter(_ANSWER.decode(body).usage)
        except msgspec.DecodeError:
            self._record.error = "an answer that is not JSON"

    def _meter(self, usage: Usage | None) -> None:
        if usage is not None:
            self._record.tokens_in = usage.prompt_tokens or 0
            self._record.tokens_out = usage.completion_tokens or 0


class Load:
    """A load on one address: ``http://…``, ``https://…`` or ``unix:…``. ``now`` is in seconds from its making.

    ``key`` is sent as an API key; ``headers`` are more headers, as the SDKs send them.
    """

    def __init__(self, url: str, *, key: str | None = None, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.address = Address.parse(url)
        self.connections = ConnectionPool(self.address, connect_timeout=_CONNECT_SECONDS)
        self.records: list[Record] = []
        self.cpu_seconds = 0.0
        lines = [("content-type", "application/json"), ("accept", "application/json"), *headers]
        if key is not None:
            lines.append(("authorization", f"Bearer {key}"))
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines).encode()
        self._under_way = 0
        self._all_done = asyncio.Event()
        self._began = perf_counter()

    def __repr__(self) -> str:
        return f"<Load {self.address.url} [{len(self.records)} sent, {self._under_way} under way]>"

    @property
    def now(self) -> float:
        """Seconds since the load was made."""
        return perf_counter() - self._began

    def head_for(self, ask: Ask) -> bytes:
        """Write the head of a request."""
        return b"POST %b%b HTTP/1.1\r\nhost: %b\r\n%bcontent-length: %d\r\n\r\n" % (
            self.address.prefix,
            ask.path.encode("ascii"),
            self.address.host_header,
            self._headers,
            len(ask.body),
        )

    async def open_loop(self, asks: Sequence[Ask], moments: Sequence[float]) -> None:
        """Send ``asks``, over and over if they are too few, at ``moments`` whatever the answers do; wait for the last.

        Each record says by how much its request was late: a client that cannot keep up shows.
        """
        used = process_time()
        start = self.now
        loop = asyncio.get_running_loop()
        fired = asyncio.Event()
        number = 0

        def fire() -> None:
            nonlocal number
            while number < len(moments) and moments[number] <= self.now - start:
                self._ask(asks[number % len(asks)], start + moments[number], self._one_done)
                number += 1
            if number < len(moments):
                loop.call_later(moments[number] - (self.now - start), fire)
            else:
                fired.set()

        fire()
        await fired.wait()
        await self._drained()
        self.cpu_seconds += process_time() - used

    async def closed_loop(self, asks: Sequence[Ask], clients: int, seconds: float) -> None:
        """Let ``clients`` each send one request after the other for ``seconds``; wait for their last answers."""
        used = process_time()
        end = self.now + seconds
        number = 0

        def next_one() -> None:
            nonlocal number
            if self.now < end:
                self._ask(asks[number % len(asks)], self.now, answered)
                number += 1

        def answered() -> None:
            next_one()
            self._one_done()

        for _ in range(clients):
            next_one()
        await self._drained()
        self.cpu_seconds += process_time() - used

    def close(self) -> None:
        """Close every connection."""
        self.connections.close()

    # inside

    def _ask(self, ask: Ask, planned: float, done: Callable[[], None]) -> None:
        record = Record(planned)
        self.records.append(record)
        self._under_way += 1
        Asking(self, ask, record, done).start()

    def _one_done(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._all_done.set()

    async def _drained(self) -> None:
        while self._under_way:
            self._all_done.clear()
            await self._all_done.wait()
