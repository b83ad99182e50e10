"""An engine that responses everything at once with the same bytes: for measuring what stands in front of it.

It understands just enough of HTTP/1.1 and of a body to know where a request ends and whether it wants a stream of how
many events. ``GET /v1/models`` lists its model, for gateways that ask; ``PUT /sim/pace`` with a number of seconds
changes the pace of streams that begin later. Every event's content is its number and the moment it was written
(``perf_counter_ns``, which all processes of a machine share), so that its reader sees what is lost, what comes
twice, and how long it took.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream":\s*true')
_EVENTS = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')

_LOOKED_AT = 2048
"""Bytes at the beginning and at the end of a body in which its fields are looked for."""

_BODY = (
    b'{"id":"chatcmpl-instant","object":"chat.completion","created":1700000000,"model":"sim","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello! How can I help you today? I answer with a fixed text."},'
    b'"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"total_tokens":32,"completion_tokens":20}}'
)
_MODELS = b'{"object":"list","data":[{"id":"%s","object":"model","created":1700000000,"owned_by":"vllm","root":"%s"}]}'
_NO_PACE = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 46\r\n\r\nthe pace is a number of seconds, not negative\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_EVENT = (
    b'data: {"id":"chatcmpl-instant","object":"chat.completion.chunk","created":1700000000,"model":"sim","choices":['
    b'{"index":0,"delta":{"content":"%d %d"},"logprobs":null,"finish_reason":null}]}\n\n'
)
_USAGE = (
    b'data: {"id":"chatcmpl-instant","object":"chat.completion.chunk","created":1700000000,"model":"sim","choices":[],'
    b'"usage":{"prompt_tokens":12,"total_tokens":%d,"completion_tokens":%d}}\n\n'
)


class InstantEngine:
    """Listens on one port of one or many addresses.

    ``delay`` (seconds) comes before each response, ``pace`` between the events of a stream; without a pace each event
    is a write of its own, as fast as its reader takes them; with ``at_once`` a stream's events follow one another
    directly, and other streams wait meanwhile.
    """

    def __init__(self, *, delay: float = 0.0, pace: float = 0.0, at_once: bool = False, model: str = "sim") -> None:
        self.delay = delay
        self.pace = pace
        self.at_once = at_once
        self.models = _answer(_MODELS % (model.encode(), model.encode()))
        self._servers: list[asyncio.Server] = []

    def __repr__(self) -> str:
        return f"<InstantEngine [{len(self._servers)} listening]>"

    async def start(self, hosts: Sequence[str] = ("127.0.0.1",), port: int = 0) -> int:
        """Listen on one port of these addresses, and return it; 0 is any that is free at the first of them."""
        loop = asyncio.get_running_loop()
        for host in hosts:
            server = await loop.create_server(lambda: InstantConnection(self), host, port, backlog=4096)
            port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
        return port

    def close(self) -> None:
        """Listen no more; open connections stay."""
        while self._servers:
            self._servers.pop().close()


class InstantConnection(asyncio.Protocol):
    """One client, who does not pipeline."""

    __slots__ = ("_engine", "_missing", "_parts", "_stream", "_timer", "transport")

    transport: asyncio.Transport

    def __init__(self, engine: InstantEngine) -> None:
        self._engine = engine
        self._parts: list[bytes] = []
        self._missing = 0
        self._stream: _Stream | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have asyncio's methods without being its classes.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Stop what is under way."""
        self.pause_writing()
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        """Hold the stream: its client does not keep up."""
        if self._stream is not None:
            self._stream.hold()

    def resume_writing(self) -> None:
        """Let the stream go on."""
        if self._stream is not None:
            self._stream.go_on()

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is whole."""
        self._missing -= len(data)
        self._parts.append(data)
        if self._missing > 0:
            return
        if len(self._parts) > 1:
            data = b"".join(self._parts)
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._parts = [data]
            self._missing = 0
            return
        length = _LENGTH.search(data, 0, end)
        self._missing = end + (int(length[1]) if length else 0) - len(data)
        if self._missing > 0:
            self._parts = [data]
            return
        self._parts = []
        self._missing = 0
        if data.startswith(b"GET /v1/models "):
            self.transport.write(self._engine.models)
        elif data.startswith(b"PUT /sim/pace "):
            self._change_pace(data[end:])
        else:
            self._answer(data[end:])

    def _change_pace(self, body: bytes) -> None:
        try:
            pace = float(body)
        except ValueError:
            pace = -1.0
        if not 0 <= pace < math.inf:
            self.transport.write(_NO_PACE)
        else:
            self._engine.pace = pace
            self.transport.write(_answer(body))
        self.transport.close()

    def _answer(self, body: bytes) -> None:
        fields = body if len(body) <= 2 * _LOOKED_AT else body[:_LOOKED_AT] + body[-_LOOKED_AT:]
        if _STREAM.search(fields):
            events = _EVENTS.search(fields)
            self._stream = _Stream(self.transport, int(events[1]) if events else 1, self._engine.pace)
            whole = self._engine.at_once and self._engine.pace == 0
            self._later(self._stream.write_whole if whole else self._stream.begin)
        else:
            self._later(self._whole)

    def _later(self, then: Callable[[], None]) -> None:
        if self._engine.delay > 0:
            self._timer = asyncio.get_running_loop().call_later(self._engine.delay, then)
        else:
            then()

    def _whole(self) -> None:
        self.transport.write(_ANSWER)


class _Stream:
    """So many events, each with its number and moment, then usage and the end marker."""

    __slots__ = ("_due", "_events", "_number", "_pace", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, events: int, pace: float) -> None:
        self._transport = transport
        self._events = events
        self._pace = pace
        self._number = 0
        self._due = 0.0
        self._timer: asyncio.Handle | None = None

    def begin(self) -> None:
        """Write the head and the first event."""
        self._transport.write(_STREAM_HEAD)
        self.go_on()

    def write_whole(self) -> None:
        """Write everything now, each event by itself."""
        events = [_chunk(_EVENT % (number, perf_counter_ns())) for number in range(self._events)]
        pieces = [_STREAM_HEAD, *events, _chunk(_USAGE % (12 + self._events, self._events)) + _END]
        self._number = self._events
        # The transport would put them together, so they go past it as long as the kernel takes them.
        descriptor = self._transport.get_extra_info("socket").fileno()
        for at, piece in enumerate(pieces):
            try:
                written = os.write(descriptor, piece)
            except BlockingIOError:
                written = 0
            if written < len(piece):
                self._transport.write(b"".join([piece[written:], *pieces[at + 1 :]]))
                return

    def hold(self) -> None:
        """Write nothing until ``go_on``."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def go_on(self) -> None:
        """Write on, from now."""
        if self._timer is None and self._number < self._events:
            self._due = asyncio.get_running_loop().time()
            self._timer = asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        event = _EVENT % (self._number, perf_counter_ns())
        self._number += 1
        if self._number == self._events:
            self._transport.write(_chunk(event) + _chunk(_USAGE % (12 + self._events, self._events)) + _END)
            return
        if self._pace > 0:
            self._due += self._pace
            self._timer = loop.call_at(self._due, self._step)
        else:
            self._timer = loop.call_soon(self._step)
        self._transport.write(_chunk(event))


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_ANSWER = _answer(_BODY)
_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
