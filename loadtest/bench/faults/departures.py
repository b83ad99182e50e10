"""How soon a client's departure reaches the engine, in every state of a request and at every endpoint.

Each cell of the table is a conversation: a client asks, the request is brought into the state, the client leaves, and
the engine says when it saw that. Where no engine has been asked yet, it is the gateway's status that says when the
request was let go, and the engine, that it is never asked.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from enum import Enum
from statistics import median
from time import perf_counter
from typing import Any

from loadtest.bench.faults.bodies import BODIES, STREAMS, body_for
from loadtest.bench.faults.raw_engine import RawEngine, unaccepting
from loadtest.bench.faults.serving import serving
from loadtest.http_client import HttpClient

FILES = "/v1/files"
_ROUNDS = 10
_CUT = 10
"""Bytes of a body that do not come."""

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"
_CHUNKED = _HEAD % (b"text/event-stream", b"transfer-encoding: chunked")
_LARGE = _HEAD % (b"application/json", b"content-length: 100000000") + bytes(3_000_000)
"""The beginning of a body that is too large to be held."""

_EVENTS: Mapping[str, bytes] = {
    "/v1/chat/completions": b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    "/v1/completions": b'data: {"id":"1","choices":[{"index":0,"text":"a"}]}\n\n',
    "/v1/responses": b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n',
    "/v1/messages": b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n',
}
_GUARDED = (*STREAMS, "/v1/messages/count_tokens")
"""The endpoints whose requests a guard looks at."""


class State(Enum):
    """Where a request is when its client leaves."""

    ARRIVING = "arriving"
    PREPARING = "guard asked"
    QUEUED = "queued"
    HELD = "held"
    CONNECTING = "connecting"
    WAITING = "first byte awaited"
    SILENT = "silent stream"
    STREAMING = "streaming"
    RELAYING = "large body"

    @property
    def endpoints(self) -> Sequence[str]:
        """The endpoints whose requests can be in this state."""
        if self is State.PREPARING:
            return _GUARDED
        if self in (State.SILENT, State.STREAMING):
            return STREAMS
        return (*BODIES, FILES) if self is State.ARRIVING else tuple(BODIES)

    @property
    def is_before_the_engine(self) -> bool:
        """Whether no engine of the model has got the request yet."""
        return self in (State.ARRIVING, State.PREPARING, State.QUEUED, State.HELD, State.CONNECTING)


class NotRight(Exception):
    """A departure did not do what it must; the message says what was seen."""


class Departures:
    """A gateway in front of engines that do what each state needs.

    After ``patience`` seconds something that has not happened is taken never to happen.
    """

    def __init__(self, patience: float = 10.0) -> None:
        self._patience = patience
        self.engine = RawEngine()
        self.guard = RawEngine()
        self.away = RawEngine()
        """The engine that is not there when requests for it come."""
        self.deaf = RawEngine()
        """The engine that accepts no connection any more."""
        self.address = ""
        self._status: HttpClient | None = None
        self._number = 0

    def __repr__(self) -> str:
        return f"<Departures {self.address} {self.engine!r}>"

    @asynccontextmanager
    async def engines(self) -> AsyncIterator[str]:
        """Let the engines listen, and give the configuration for them."""
        async with self.engine, self.guard, self.away, self.deaf:
            self.away.close()
            yield "\n".join(
                [
                    "[gateway.timeouts]\nkeep_alive_comment = 0.1",
                    _model("m", self.engine),
                    _model("one", self.engine, max_in_flight=1),
                    _model("held", self.away, hold=60.0, required=False),
                    _model("deaf", self.deaf, health_interval=3600.0),
                    _model("guarded", self.engine) + 'guard = { model = "guard", block = ["x"] }\n',
                    _model("guard", self.guard, tasks=["classify"]),
                ]
            )

    @asynccontextmanager
    async def gateway_at(self, address: str, control: str) -> AsyncIterator[None]:
        """Ask the gateway at these addresses."""
        self.address = address
        async with HttpClient(control) as self._status:
            yield

    async def measure(self, state: State, path: str) -> float:
        """Leave in a state; return the seconds until the engine, or else the gateway, knew. Raises ``NotRight``."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._ways[state](self, path)
        except TimeoutError:
            status = "" if self._status is None else (await self._status.get("/status")).text
            raise NotRight(f"{path}, {state.value}: nothing more happened; {self!r} {status}") from None

    # one conversation for each state

    async def _arriving(self, path: str) -> float:
        before = len(self.engine.asked)
        async with self._client() as client:
            if path == FILES:
                client.send_upload()
                await client.got(b"100 Continue")
                client.send_more_of_upload()
            else:
                client.send(path, "m", cut=_CUT)
                await self._metric("request_body_bytes", lambda value: value > 0)
            left = client.leave()
            await self._metric("client_connections", lambda value: value == 0)
        seconds = perf_counter() - left
        await self._metric("request_body_bytes", lambda value: value == 0)
        if len(self.engine.asked) != before:
            raise NotRight(f"{path}: half a request reached an engine")
        async with HttpClient(self.address) as client_of_files:
            listed = json.loads((await client_of_files.get(FILES)).body)
        if listed["data"]:
            raise NotRight(f"half an upload was kept: {listed}")
        await self._metric("client_connections", lambda value: value == 0)
        return seconds

    async def _preparing(self, path: str) -> float:
        before = len(self.engine.asked)
        async with self._client() as client:
            client.send(path, "guarded")
            await self.guard.arrived()
            seconds = await _seen(self.guard, client)
        await self._idle("guarded")
        if len(self.engine.asked) != before:
            raise NotRight(f"{path}: the engine was asked though the guard has not answered")
        return seconds

    async def _queued(self, path: str) -> float:
        async with self._client() as first, self._client() as second:
            first.send("/tokenize", "one")
            await self.engine.arrived()
            before = len(self.engine.asked)
            second.send(path, "one")
            await self._load("one", running=1, waiting=1)
            left = second.leave()
            await self._load("one", running=1, waiting=0)
            seconds = perf_counter() - left
            await _seen(self.engine, first)
        await self._idle("one")
        if len(self.engine.asked) != before:
            raise NotRight(f"{path}: an engine was asked for a client that had left the queue")
        return seconds

    async def _held(self, path: str) -> float:
        async with self._client() as client:
            client.send(path, "held")
            await self._load("held", running=0, waiting=1)
            left = client.leave()
            await self._load("held", running=0, waiting=0)
            seconds = perf_counter() - left
        if self.away.asked:
            raise NotRight(f"{path}: an engine was asked that is not there")
        return seconds

    async def _connecting(self, path: str) -> float:
        with self._deaf():
            async with self._client() as client:
                client.send(path, "deaf")
                await self._load("deaf", running=1, waiting=0)
                left = client.leave()
                await self._load("deaf", running=0, waiting=0)
                seconds = perf_counter() - left
        if self.deaf.asked:
            raise NotRight(f"{path}: an engine was asked that accepts no connection")
        return seconds

    async def _waiting(self, path: str) -> float:
        return await self._at_the_engine(path, b"", b"")

    async def _silent(self, path: str) -> float:
        return await self._at_the_engine(path, b"", b": keep-alive", stream=True)

    async def _streaming(self, path: str) -> float:
        event = _EVENTS[path]
        reply = _CHUNKED + b"%x\r\n%b\r\n" % (len(event), event)
        return await self._at_the_engine(path, reply, event.splitlines()[-2], stream=True)

    async def _relaying(self, path: str) -> float:
        return await self._at_the_engine(path, _LARGE, bytes(100))

    async def _at_the_engine(self, path: str, reply: bytes, until: bytes, *, stream: bool = False) -> float:
        """Leave when the engine has replied so, and these bytes have reached the client."""
        self.engine.reply = reply
        try:
            async with self._client() as client:
                client.send(path, "m", stream=stream)
                await self.engine.arrived()
                await client.got(until)
                seconds = await _seen(self.engine, client)
        finally:
            self.engine.reply = b""
        await self._idle("m")
        return seconds

    _ways: Mapping[State, Callable[[Departures, str], Awaitable[float]]] = {
        State.ARRIVING: _arriving,
        State.PREPARING: _preparing,
        State.QUEUED: _queued,
        State.HELD: _held,
        State.CONNECTING: _connecting,
        State.WAITING: _waiting,
        State.SILENT: _silent,
        State.STREAMING: _streaming,
        State.RELAYING: _relaying,
    }

    # what they are made of

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[_Client]:
        """Connect a client; every second one resets its connection when it leaves, the others close it."""
        self._number += 1
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=4096)
        client = _Client(reader, writer, resets=self._number % 2 == 0)
        try:
            yield client
        finally:
            writer.transport.abort()

    @contextmanager
    def _deaf(self) -> Iterator[None]:
        """Have an engine accept no connection any more."""
        self.deaf.close()
        with unaccepting(self.deaf.port):
            yield

    async def _load(self, model: str, *, running: int, waiting: int) -> None:
        """Wait until so many requests of a model run and wait."""
        assert self._status is not None
        while True:
            listed = json.loads((await self._status.get("/status")).body)["models"]
            (found,) = (each for each in listed if each["model"] == model)
            if (found["running"], found["waiting"]) == (running, waiting):
                return

    async def _idle(self, model: str) -> None:
        """Wait until nothing of a model is under way."""
        await self._load(model, running=0, waiting=0)

    async def _metric(self, name: str, wanted: Callable[[float], bool]) -> float:
        """Wait until a metric has a wanted value, and return that."""
        assert self._status is not None
        while True:
            text = (await self._status.get("/metrics")).text
            found = re.search(rf"^headgate_{re.escape(name)} (\S+)$", text, re.MULTILINE)
            assert found is not None
            if wanted(value := float(found[1])):
                return value


class _Client:
    """One client, which asks once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, resets: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._resets = resets

    def send(self, path: str, model: str, *, cut: int = 0, stream: bool = False) -> None:
        """Send a request, but for the last ``cut`` bytes of its body."""
        body, media = body_for(path, model, stream=True) if stream else body_for(path, model)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body[: len(body) - cut])

    def send_upload(self) -> None:
        """Send the head of an upload, which asks to be told when its body is read."""
        self._writer.write(
            f"POST {FILES} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n"
            "content-type: multipart/form-data; boundary=x\r\n\r\n".encode()
        )

    def send_more_of_upload(self) -> None:
        """Send some of the body of an upload."""
        purpose = b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        file = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        self._writer.write(purpose + file + bytes(100_000))

    async def got(self, wanted: bytes) -> None:
        """Read until these bytes have come."""
        read = b""
        while wanted not in read:
            piece = await self._reader.read(4096)
            if not piece:
                raise NotRight(f"the response ended early: {read[-500:]!r}")
            read += piece

    def leave(self) -> float:
        """Close or reset the connection; return when, as a ``perf_counter`` reading."""
        if self._resets:
            known: socket.socket = self._writer.get_extra_info("socket")
            known.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        else:
            self._writer.close()
        return perf_counter()


async def _seen(engine: RawEngine, client: _Client) -> float:
    """Leave, and return the seconds until the engine saw the connection of the request closed."""
    while not engine.left.empty():
        engine.left.get_nowait()
    left = client.leave()
    return await engine.left.get() - left


def _model(name: str, engine: RawEngine, **options: object) -> str:
    table = {"engine": "remote", "urls": [engine.address], **options}
    return f"[models.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


async def measure(log: Callable[[str], None]) -> Mapping[str, Any]:
    """Measure every cell; return the slowest of each endpoint and state, in milliseconds, and the median of all."""
    departures = Departures()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-bench-"))
        models = await stack.enter_async_context(departures.engines())
        settings = f'[gateway]\naccess_log = "off"\n[gateway.files]\nfolder = "{folder}/files"\n'
        gateway = await stack.enter_async_context(serving(settings + models))
        await stack.enter_async_context(departures.gateway_at(gateway.address, gateway.control_address))
        cells = {}
        for state in State:
            for path in state.endpoints:
                cells[path, state] = [await departures.measure(state, path) for _ in range(_ROUNDS)]
            log(f"{state.value}: {len(state.endpoints)} endpoints")
    log(table({cell: max(seconds) for cell, seconds in cells.items()}))
    at_engines = [each for (_, state), seconds in cells.items() if not state.is_before_the_engine for each in seconds]
    every = [each for seconds in cells.values() for each in seconds]
    log(
        f"{len(every)} departures: at engines p50 {median(at_engines) * 1e3:.2f} ms and at most "
        f"{max(at_engines) * 1e3:.1f} ms, of all at most {max(every) * 1e3:.1f} ms"
    )
    return {"slowest_ms": max(every) * 1e3, "slowest_at_engines_ms": max(at_engines) * 1e3}


def table(cells: Mapping[tuple[str, State], float]) -> str:
    """Write the seconds of each endpoint and state as a table in milliseconds."""
    heads = [f"{state.value}{'*' if state.is_before_the_engine else ''}" for state in State]
    lines = [f"| endpoint | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    for path in dict.fromkeys(path for path, _ in cells):
        row = [f"{cells[path, state] * 1e3:.1f}" if (path, state) in cells else "" for state in State]
        lines.append(f"| `{path}` | {' | '.join(row)} |")
    return "\n".join(lines)
