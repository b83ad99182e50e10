"""Clients that read paced streams, and check every event: that it comes, in its place, and how long it took.

They are protocols on raw transports: what an HTTP library does for each event would be part of each event's delay.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import cast
from urllib.parse import urlsplit

from loadtest.bench.clients import request
from loadtest.bench.deployment import DeploymentSpec

_EVENT = re.compile(rb'"content":"(\d+) (\d+)"')
_LONG_GAP = 10
"""A gap of more than so many paces is one too long."""


@dataclass(slots=True)
class StreamTally:
    """What all streams together have seen. Times are in seconds."""

    events: int = 0
    lost: int = 0
    """Events that never came, or came behind a later one."""
    repeated: int = 0
    """Events that came twice, or behind a later one."""
    complete: int = 0
    """Streams that came to their end with every event."""
    failed: int = 0
    failure: str = ""
    long_gaps: int = 0
    """Gaps of over ten times the pace that the engine did not make."""
    longest_gap: float = 0.0
    delays: array[float] = field(default_factory=lambda: array("d"))
    """From an event's writing by the engine to its reading here."""

    def fail(self, what: str) -> None:
        """Count a failure."""
        self.failed += 1
        self.failure = self.failure or what


class StreamClients:
    """Streams of so many events each, at a pace in seconds."""

    def __init__(self, address: str, spec: DeploymentSpec, *, events: int, pace: float) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._spec = spec
        self.events = events
        self.pace = pace
        self.tally = StreamTally()
        self._open: set[_StreamClient] = set()

    def __repr__(self) -> str:
        return f"<StreamClients [{len(self._open)} streams open, {self.tally.complete} complete]>"

    async def open(self, streams: int) -> None:
        """Begin so many streams, evenly spread over the pace so that their events are, too."""
        loop = asyncio.get_running_loop()
        # A little more than a whole number of paces for all of them together: each begins at another moment of it.
        spacing = max(self.pace, 0.002 * streams) / streams * (1 + 1 / streams)
        began = loop.time()
        for number in range(streams):
            data = request("bench", self._spec.key(number), self._spec.model(number), events=self.events)
            _, client = await loop.create_connection(lambda: _StreamClient(self), self._host, self._port)
            self._open.add(client)
            client.send(data)
            await asyncio.sleep(max(0.0, began + (number + 1) * spacing - loop.time()))

    async def until_all_have(self, events: int) -> None:
        """Wait until every open stream has so many events. Raises ``TimeoutError``."""
        async with asyncio.timeout(60 + events * self.pace * 2):
            while any(client.expected < events for client in self._open):  # noqa: ASYNC110 - looked at now and then
                await asyncio.sleep(self.pace / 10)

    async def ended(self, patience: float = 60.0) -> None:
        """Wait until every stream is over; one that is not, so many seconds after its time, has failed."""
        try:
            async with asyncio.timeout(patience + self.events * self.pace):
                while self._open:  # noqa: ASYNC110 - looked at now and then
                    await asyncio.sleep(self.pace)
        except TimeoutError:
            for client in self._open:
                self.tally.fail(f"a stream did not go on after {client.expected} events")
            await self.close()

    async def close(self) -> None:
        """Close what is open."""
        for client in list(self._open):
            client.abort()
        self._open.clear()
        await asyncio.sleep(0)

    def over(self, client: _StreamClient) -> None:
        """Forget a stream; called by itself."""
        self._open.discard(client)


class _StreamClient(asyncio.Protocol):
    """One stream."""

    transport: asyncio.Transport

    def __init__(self, clients: StreamClients) -> None:
        self.expected = 0
        self._clients = clients
        self._rest = b""
        self._read_at = 0
        self._written_at = 0
        self._over = False

    def send(self, request: bytes) -> None:
        """Send the request."""
        self.transport.write(request)

    def abort(self) -> None:
        """Close the connection in the middle of the stream."""
        self._over = True
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have asyncio's methods without being its classes.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a stream that did not come to its end."""
        if not self._over:
            self._end(f"a stream broke after {self.expected} events ({exc})")

    def data_received(self, data: bytes) -> None:
        """Check every event that this read brings."""
        now = perf_counter_ns()
        tally, pace = self._clients.tally, self._clients.pace
        data = self._rest + data
        at = 0
        for found in _EVENT.finditer(data):
            at = found.end()
            number, written = int(found[1]), int(found[2])
            tally.events += 1
            tally.delays.append((now - written) / 1e9)
            if number < self.expected:
                tally.repeated += 1
                continue
            tally.lost += number - self.expected
            if number:
                gap = (now - self._read_at) / 1e9
                tally.longest_gap = max(tally.longest_gap, gap)
                # With an engine that keeps its pace, this is a gap of ten paces.
                if gap - (written - self._written_at) / 1e9 > (_LONG_GAP - 1) * pace:
                    tally.long_gaps += 1
            self.expected = number + 1
            self._read_at, self._written_at = now, written
        self._rest = data[at:]
        if self._rest.endswith(b"\r\n0\r\n\r\n"):
            tally.lost += self._clients.events - self.expected
            complete = self.expected == self._clients.events
            self._end("" if complete else f"a stream ended after {self.expected} events: {self._rest[:300]!r}")

    def _end(self, failure: str) -> None:
        if failure:
            self._clients.tally.fail(failure)
        else:
            self._clients.tally.complete += 1
        self._over = True
        self.transport.close()
        self._clients.over(self)
