"""Closed-loop clients: connections that send one request after the other, and others that stay idle.

They are protocols on raw transports, not an HTTP library's clients: one core runs them and the engine, and has to put
on more load than a gateway on the other can take.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import msgspec

_AT_ONCE = 200
"""Connections that are opened at the same time."""

_END = b"\r\n0\r\n\r\n"
"""How a body in chunks ends, behind its last event."""

_EVENT_END = re.compile(rb"\n(?:\r\n[0-9a-fA-F]+\r\n)?\n")
"""How an event ends, even where a proxy that knows nothing of events has put the border of a chunk."""

_KEPT = 24
"""Bytes of a stream that are looked at again with the next read: longer than any of the two above."""

_TEXT = "Please tell me, in a few words, what the weather is like in Paris in the spring, and what I should wear. "


def request(host: str, key: str, model: str, *, body_bytes: int = 0, events: int = 0) -> bytes:
    """Write a chat request as SDKs send it; ``body_bytes`` is the size of its body, ``events`` asks for a stream."""
    body = chat_body(model, _TEXT, events)
    if body_bytes:
        # Words with spaces, as prompts are, and no character that JSON escapes.
        length = max(1, len(_TEXT) + body_bytes - len(body))
        body = chat_body(model, (_TEXT * (length // len(_TEXT) + 1))[:length], events)
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n"
        f"user-agent: AsyncOpenAI/Python 2.8.0\r\nx-stainless-lang: python\r\nx-stainless-retry-count: 0\r\n"
        f"content-type: application/json\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def chat_body(model: str, text: str = _TEXT, events: int = 0) -> bytes:
    """Write the body of a chat request; ``events`` asks for a stream of so many."""
    asked = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": events or 64}
    if events:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(asked)


@dataclass(slots=True)
class Tally:
    """What the clients have seen. ``seconds`` are from sending to the whole response, or to a stream's first event."""

    responses: int = 0
    failed: int = 0
    events: int = 0
    seconds: array[float] = field(default_factory=lambda: array("d"))
    failure: str = ""
    """What the first failure was."""

    def fail(self, what: str) -> None:
        """Count a failure."""
        self.failed += 1
        self.failure = self.failure or what


class Client(asyncio.Protocol):
    """One connection, which sends its requests in turn. ``done`` is called after each response, and if it is lost."""

    transport: asyncio.Transport

    def __init__(self, requests: Sequence[bytes], done: Callable[[Client], None], tally: Tally) -> None:
        self.tally = tally
        self._requests = requests
        self._done = done
        self._number = 0
        self._sent_at = 0.0
        self._head = b""
        self._missing: int | None = None
        self._tail = b""
        self._first = True
        self._closing = False

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent here."""
        return self._closing

    def send(self) -> None:
        """Send the next request."""
        self._first = True
        self._sent_at = perf_counter()
        self.transport.write(self._requests[self._number % len(self._requests)])
        self._number += 1

    def close(self) -> None:
        """Abort; a response under way is not awaited."""
        self._closing = True
        self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have asyncio's methods without being its classes.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a failure, unless this client closed by itself."""
        if not self._closing:
            self.tally.fail(f"the gateway closed a connection ({exc})")
            self._closing = True
            self._done(self)

    def data_received(self, data: bytes) -> None:
        """Read on; a body is counted, not kept."""
        if self._missing is not None:
            self._missing -= len(data)
        elif self._tail:
            self._take_events(data)
            return
        else:
            data = self._head + data
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._head = data
                return
            self._head = b""
            if data[9:12] != b"200":
                self.tally.fail(data[:200].decode("latin-1"))
            head = data[:end].lower()
            at = head.find(b"\r\ncontent-length: ")
            if at < 0:
                self._take_events(data[end:])
                return
            self._missing = int(head[at + 18 : head.find(b"\r", at + 18)]) - (len(data) - end)
        if self._missing <= 0:
            self._missing = None
            self.tally.seconds.append(perf_counter() - self._sent_at)
            self._complete()

    def _take_events(self, data: bytes) -> None:
        """Count the events of a stream, up to its last chunk."""
        tally = self.tally
        if self._first and data:
            self._first = False
            tally.seconds.append(perf_counter() - self._sent_at)
        seen = self._tail + data
        tally.events += len(_EVENT_END.findall(seen)) - len(_EVENT_END.findall(self._tail))
        if seen.endswith(_END):
            self._tail = b""
            self._complete()
        else:
            # A stream is told apart from the next response's head by its tail, which is never empty within it.
            self._tail = seen[-_KEPT:] or b" "

    def _complete(self) -> None:
        self.tally.responses += 1
        self._done(self)


class ClientPool:
    """All clients of one gateway: ``open`` them, run some of them in a closed loop or at a rate, ``close`` them."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self.tally = Tally()
        self.clients: list[Client] = []
        self._active: set[Client] = set()
        self._running = False
        self._due: dict[Client, float] = {}
        self._spacing = 0.0
        self._all_idle = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ClientPool [{len(self.clients)} clients, {len(self._active)} active]>"

    async def open(self, requests: Sequence[Sequence[bytes]]) -> None:
        """Open a connection for each of these lists of requests, which it will send in turn."""
        loop = asyncio.get_running_loop()
        for at in range(0, len(requests), _AT_ONCE):
            made = [
                loop.create_connection(partial(Client, each, self._responded, self.tally), self._host, self._port)
                for each in requests[at : at + _AT_ONCE]
            ]
            self.clients += [client for _, client in await asyncio.gather(*made)]

    async def send_once(self) -> None:
        """Let every client send one request, not all at the same time, and wait for all responses."""
        for at in range(0, len(self.clients), _AT_ONCE):
            some = self.clients[at : at + _AT_ONCE]
            self._active.update(some)
            for client in some:
                client.send()
            await self._idle()

    async def run_busy(self, busy: int, seconds: float) -> Tally:
        """Let the first ``busy`` clients send without pause, and return what they saw until the time was over."""
        return await self._run(busy, seconds, spacing=0.0)

    async def run_at_rate(self, busy: int, seconds: float, *, rate: float) -> Tally:
        """Let the first ``busy`` clients together send ``rate`` requests a second, evenly spaced.

        The loop is closed: a client that still waits for a response sends when that is there.
        """
        return await self._run(busy, seconds, spacing=busy / rate)

    async def close(self) -> None:
        """Close every connection."""
        for client in self.clients:
            client.close()
        self.clients = []
        self._active.clear()
        self._due.clear()
        await asyncio.sleep(0)

    async def _run(self, busy: int, seconds: float, spacing: float) -> Tally:
        """Let each of the first clients send every ``spacing`` seconds, or as soon as it has a response."""
        self.tally = Tally()
        self._running = True
        self._spacing = spacing
        for client in self.clients:
            client.tally = self.tally
        now = asyncio.get_running_loop().time()
        for number, client in enumerate(self.clients[:busy]):
            self._active.add(client)
            self._due[client] = now + number * spacing / busy
            self._send_when_due(client)
        await asyncio.sleep(seconds)
        self._running = False
        await self._idle()
        return self.tally

    def _send_when_due(self, client: Client) -> None:
        if self._spacing:
            asyncio.get_running_loop().call_at(self._due[client], self._send_now, client)
        else:
            client.send()

    def _send_now(self, client: Client) -> None:
        if self._running and not client.closed:
            client.send()
        else:
            self._rest(client)

    def _responded(self, client: Client) -> None:
        if self._running and not client.closed:
            self._due[client] += self._spacing
            self._send_when_due(client)
        else:
            self._rest(client)

    def _rest(self, client: Client) -> None:
        self._active.discard(client)
        if not self._active:
            self._all_idle.set()

    async def _idle(self) -> None:
        """Wait until all responses are there. Raises ``TimeoutError``."""
        async with asyncio.timeout(60):
            while self._active:
                self._all_idle.clear()
                await self._all_idle.wait()
