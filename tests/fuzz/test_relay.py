"""Whatever an engine answers, however cut: the client gets a status or an in-stream error, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from time import perf_counter
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.pipeline import Pipeline
from gateway.api.snapshot import Snapshot
from gateway.batches.store import BatchStore
from gateway.config.gateway import GatewayConfig
from gateway.config.model_timeouts import ModelTimeouts
from gateway.config.types import ALL_TASKS
from gateway.core.limits import LocalUsage
from gateway.exchange.dispatcher import Dispatcher
from gateway.files.store import FileStore
from gateway.http.address import Address
from gateway.http.client_connection import ClientConnection
from gateway.http.connection_pool import ConnectionPool
from gateway.http.listener import Listener
from gateway.http.response_head import ResponseHeads
from gateway.http.upstream import UpstreamConnection
from gateway.observe.counters import Counters
from gateway.pools.admission import Admission
from gateway.pools.model import Model
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.pools.timeouts import Timeouts
from tests.fuzz.cases import EDITS, SIZES, Choices, cases, changed, cut
from tests.kit.memory import MemoryTransport, until
from tests.kit.wire import Response, Wire

_CONFIG = GatewayConfig.model_validate({})
_BLANK_LINE = re.compile(rb"\n\r?\n")
_UNLIKE = re.compile(rb'"sequence_number":\d+,|(?<=The engine sent what is not HTTP/1\.1: )[^"]+')
"""What may differ in two relays of the same bytes: a number, and which of two mistakes the parser names."""

_UNLIKE_HEADERS = ("x-request-id", "request-id", "openai-processing-ms", "content-length", "date")
_PATIENCE = 20
"""Turns of the loop that the gateway gets before the clock is put forward."""


class End(Enum):
    """What an engine does when it has said everything."""

    SILENCE = 0
    CLOSE = 1
    RESET = 2


@dataclass(frozen=True)
class Said:
    """What an engine answers to each request, in these pieces."""

    data: bytes
    sizes: bytes
    end: End


GOOD = Said(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{"ok":1}', b"", End.SILENCE)


class EngineTransport(MemoryTransport):
    """The gateway's end of a connection to an engine, which answers each request in the way that is in force."""

    def __init__(self, engine: Engine, connection: UpstreamConnection) -> None:
        super().__init__(connection)
        self._engine = engine

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self._engine.play(self)


class Engine(ConnectionPool):
    """The connections to an engine in memory; there is always one more."""

    def __init__(self, *, fast_paths: bool = True) -> None:
        super().__init__(Address.parse("http://engine"), connect_timeout=1.0, heads=ResponseHeads(enabled=fast_paths))
        self.says = GOOD
        self._playing: set[asyncio.Task[None]] = set()

    @property
    def playing(self) -> bool:
        """Whether anything is still being said."""
        return bool(self._playing)

    def take(self) -> UpstreamConnection:
        connection = super().take()
        if connection is None:
            connection = UpstreamConnection(self)
            connection.connection_made(EngineTransport(self, connection))
            self._open.add(connection)
        return connection

    def play(self, transport: EngineTransport) -> None:
        task = asyncio.get_running_loop().create_task(self._say(transport, self.says))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)

    async def _say(self, transport: EngineTransport, said: Said) -> None:
        await transport.receive(cut(said.data, said.sizes))
        if said.end is End.CLOSE:
            transport.lose(None)
        elif said.end is End.RESET:
            transport.lose(ConnectionResetError("reset"))


class Plane:
    """A whole data plane in front of two replicas, with one client."""

    def __init__(self, *, fast_paths: bool = True) -> None:
        self.engines = [Engine(fast_paths=fast_paths), Engine(fast_paths=fast_paths)]
        self.replicas = [Replica(f"m/{n}", engine, ready=True) for n, engine in enumerate(self.engines)]
        self.pool = Pool("m", self.replicas, policy=RoundRobin(), admission=Admission(4, 4))
        self.pool.waits.set_timeouts(Timeouts.of(ModelTimeouts(), _CONFIG.timeouts))
        registry = Registry([Model("m", self.pool, tasks=ALL_TASKS)])
        self.metrics = Counters()
        self.dispatcher = Dispatcher(_CONFIG.timeouts, self.metrics, fast_paths=fast_paths)
        files = FileStore(_CONFIG.files, self.metrics.files)
        snapshot = Snapshot.of(_CONFIG, registry, LocalUsage())
        application = Pipeline(
            snapshot, self.dispatcher, self.metrics, None, "0", files, BatchStore(files, _CONFIG.batches)
        )
        self.listener = Listener(application, _CONFIG.limits, _CONFIG.timeouts, fast_paths=fast_paths)
        self.client = ClientConnection(self.listener)
        self.transport = MemoryTransport(self.client)
        self.client.connection_made(self.transport)

    async def ask(self, request: bytes, said: Said) -> bytes:
        """Send a request and return all that the client gets; beyond every deadline it has to be over."""
        for engine in self.engines:
            engine.says = said
        before = len(self.transport.written)
        self.client.data_received(request)
        await until(lambda: not any(engine.playing for engine in self.engines))
        for _ in range(_PATIENCE):
            if not self.client.busy:
                break
            await asyncio.sleep(0)
        # The first tick takes note of what came until then, each other one is behind every deadline: a request whose
        # first replica is silent goes to the other, which has its own time to answer.
        self.dispatcher.tick(perf_counter())
        for late in range(1, 4):
            self.dispatcher.tick(perf_counter() + late * 10_000)
            await until(lambda: not any(engine.playing for engine in self.engines))
        assert not self.client.busy
        assert len(self.dispatcher) == 0
        return bytes(self.transport.written[before:])

    async def leave(self) -> None:
        """Close the client's connection; nothing may be left but idle connections to engines."""
        self.transport.close()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not self.listener.connections
        assert (self.pool.admission.running, self.pool.admission.waiting, self.pool.tokens_in_flight) == (0, 0, 0)
        assert [replica.in_flight for replica in self.replicas] == [0, 0]
        for engine in self.engines:
            opened, idle = re.findall(r"\d+ (?=open|idle)", repr(engine))
            assert opened == idle
        assert asyncio.all_tasks() == {asyncio.current_task()}


# asking

_PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")


def asked(path: str, *, stream: bool) -> bytes:
    """Write a request."""
    fields = b'{"model":"m","stream":%b,"max_tokens":3}' % (b"true" if stream else b"false")
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(fields))
    return head + fields


# answering

_STATUS_LINES = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 \r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 400 Bad Request\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\n",
    b"HTTP/1.1 429 Too Many Requests\r\n",
    b"HTTP/1.1 401 Unauthorized\r\n",
    b"HTTP/1.1 302 Found\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 999 What\r\n",
    b"HTTP/1.1 20 OK\r\n",
    b"\x16\x03\x01",
    b"",
)
_MEDIA = (
    b"content-type: text/event-stream; charset=utf-8\r\n",
    b"content-type: text/event-stream; charset=utf-8\r\n",
    b"content-type: application/json\r\n",
    b"Content-Type: Text/Event-Stream\r\n",
    b"",
)
_HEADERS = (
    b"x-one: 1\r\n",
    b"connection: close\r\n",
    b"connection: keep-alive, x-one\r\n",
    b"retry-after: 7\r\n",
    b"retry-after: soon\r\n",
    b"retry-after: 99999999999999999999999\r\n",
    b"x-request-id: theirs\r\n",
    b"set-cookie: a=b\r\n",
    b"upgrade: h2c\r\nconnection: upgrade\r\n",
    b"no colon\r\n",
    b"x-bare: a\nb: c\r\n",
    b"x-high: \xff\r\n",
)
_EVENTS = (
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    b"data: [DONE]\n\n",
    b'data: {"choices":[{"text":"a"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b'data: {"error":{"message":"m","type":"t","code":400}}\n\n',
    b": comment\n\n",
    b'event: message_start\ndata: {"message":{"usage":{"input_tokens":1}}}\n\n',
    b'event: content_block_delta\ndata: {"delta":{"text":"a"}}\n\n',
    b'event: message_delta\ndata: {"usage":{"output_tokens":2}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    b'event: error\ndata: {"type":"error","error":{"message":"m"}}\n\n',
    b'event: response.output_text.delta\ndata: {"delta":"a"}\n\n',
    b'event: response.completed\ndata: {"response":{"usage":{"input_tokens":1,"output_tokens":2}}}\n\n',
    b'event: response.failed\ndata: {"response":{}}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n',
    b"data: [DONE]\r\n\r\n",
    b"data:[DONE]\n\n",
    b"data: \xff\n\n",
    b"data: {\n\n",
    b'data: {"choices":[{"delta":{"content":"a"}}],\ndata: "usage":{"prompt_tokens":1}}\n\n',
    b'data: {"choices":{},"usage":[],"error":"text"}\n\n',
    b'data: {"error":"text"}\n\n',
    b'data: {"error":{"message":[1],"code":"x","param":2}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":1e400}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":99999999999999999999}}\n\n',
    b"data: " + b"[" * 1_100 + b"\n\n",
    b'event: error\ndata: "text"\n\n',
    b"\n\n",
    b"\r\n",
    b"data: unfinished",
)
_OBJECTS = (
    b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
    b'{"error":{"message":"m","type":"Bad","code":400}}',
    b'{"detail":"m"}',
    b'{"usage":1}',
    b"<html>",
    b"",
    b'"\xff',
    b'{"usage":' + b"[" * 1_100,
    b"[" * 1_100,
    b'{"error":null}',
    b"5",
)


def answer(script: bytes) -> bytes:
    """Put an answer together, right or wrong."""
    choose = Choices(script)
    parts = [choose.one(_STATUS_LINES)]
    media = choose.one(_MEDIA)
    parts.append(media)
    parts += [choose.one(_HEADERS) for _ in range(choose.number(3))]
    if b"vent" in media:
        body = b"".join([choose.one(_EVENTS) for _ in range(choose.number(8))])
    else:
        body = choose.one(_OBJECTS)
    parts.append(framed(body, choose))
    return b"".join(parts)


def framed(body: bytes, choose: Choices) -> bytes:
    """Write a body's framing and the body, in one of many ways."""
    length = b"content-length: %d\r\n" % len(body)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in cut(body, bytes([choose.number(256)])))
    coded = b"transfer-encoding: chunked\r\n\r\n"
    return choose.one(
        (
            coded + chunks + b"0\r\n\r\n",
            length + b"\r\n" + body,
            coded + chunks + b"0\r\nx-trailer: 1\r\n\r\n",
            b"\r\n" + body,
            length + b"\r\n" + body[:-1],
            length + b"\r\n" + body + b"HTTP/1.1 200 OK\r\n",
            length + b"\r\n" + body + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            coded + chunks,
            coded + chunks + b"zz\r\n",
            length + coded + chunks + b"0\r\n\r\n",
            length + length + b"\r\n" + body,
            b"content-length: -1\r\n\r\n" + body,
            b"transfer-encoding: gzip\r\n\r\n" + body,
            b"content-length: 5",
        )
    )


ANSWERS = st.binary(max_size=32).map(answer)
ASKED = st.sampled_from([(path, stream) for path in _PATHS for stream in (True, False)])
ENDS = st.sampled_from(End)


# what holds


async def check(path: str, stream: bool, said: Said) -> None:
    """Check what must be true of any answer of an engine, and that it does not depend on how it was cut."""
    whole = await relayed(path, stream, replace(said, sizes=b""))
    if said.sizes:
        assert facts(path, await relayed(path, stream, said)) == facts(path, whole)


async def relayed(path: str, stream: bool, said: Said) -> Response:
    """Have an answer relayed and a good one after it; return the first as the client gets it."""
    plane = Plane()
    first = await read(await plane.ask(asked(path, stream=stream), said))
    check_answer(path, first)
    expected = 1
    if not plane.transport.ended:
        expected = 2
        second = await read(await plane.ask(asked("/v1/embeddings", stream=False), GOOD))
        assert (second.status, second.body) == (200, b'{"ok":1}')
    await plane.leave()
    assert f"[{expected} requests of" in repr(plane.metrics)
    return first


async def read(data: bytes) -> Response:
    """Read the only answer in these bytes."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = await Wire(reader, cast(asyncio.StreamWriter, None)).response()
    assert await reader.read() == b""
    return found


def facts(path: str, answer: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Leave out what may differ from time to time: ids, times, empty lines, and what follows the end of a stream."""
    headers = [pair for pair in answer.headers if pair[0] not in _UNLIKE_HEADERS]
    body = _UNLIKE.sub(b"", answer.body)
    if ("transfer-encoding", "chunked") not in headers:
        return answer.status, headers, body
    events = [event.strip() for event in _BLANK_LINE.split(body) if event.strip()]
    end = next((at for at, event in enumerate(events) if is_end(path, event)), len(events))
    return answer.status, headers, b"".join(events[: end + 1])


def check_answer(path: str, answer: Response) -> None:
    """Check that an answer is one of those that the gateway gives."""
    assert re.fullmatch(r"req-[0-9a-f]+-1", answer.header("x-request-id") or "")
    assert answer.header("set-cookie") is None
    if answer.status >= 300:
        assert answer.status in (*range(400, 500), 501, 502, 503, 504, 529)
        assert answer.status not in (401, 403, 407)  # Those would be about the gateway's own credentials.
        assert answer.header("content-type") == "application/json"
        assert answer.json["error"]["message"]
        assert answer.json["error"]["type"]
    elif "text/event-stream; charset=utf-8" in answer.all("content-type") and answer.header("transfer-encoding"):
        assert answer.status == 200
        check_stream(path, answer.body)


def check_stream(path: str, body: bytes) -> None:
    """Check that a stream came to the end that its dialect has, or to an error that its clients understand."""
    assert body.endswith((b"\n\n", b"\n\r\n"))
    events = [event.strip() for event in _BLANK_LINE.split(body)]
    assert any(is_end(path, event) for event in events)
    for event in events:
        if b'"upstream_failed"' in event or b'_timeout"' in event:
            assert json.loads(event.partition(b"data: ")[2])["error"]["message"]


def is_end(path: str, event: bytes) -> bool:
    """Tell whether an event ends a stream of this endpoint."""
    lines = event.splitlines()
    if path == "/v1/messages":
        return any(line.startswith((b"event: message_stop", b"event: error")) for line in lines)
    if path == "/v1/responses":
        names = [b"event: response." + name for name in (b"completed", b"incomplete", b"failed")]
        return any(line.startswith((b"event: error", *names)) for line in lines)
    return any(line.rstrip() in (b"data: [DONE]", b"data:[DONE]") for line in lines)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@cases(0.04)
@given(ASKED, st.binary(max_size=300), SIZES, ENDS)
def test_arbitrary_bytes(
    loop: asyncio.AbstractEventLoop, asked: tuple[str, bool], data: bytes, sizes: bytes, end: End
) -> None:
    loop.run_until_complete(check(*asked, Said(data, sizes, end)))


@cases(0.08)
@given(ASKED, ANSWERS, SIZES, ENDS)
def test_odd_answers(
    loop: asyncio.AbstractEventLoop, asked: tuple[str, bool], data: bytes, sizes: bytes, end: End
) -> None:
    loop.run_until_complete(check(*asked, Said(data, sizes, end)))


@cases(0.08)
@given(ASKED, ANSWERS, EDITS, SIZES, ENDS)
def test_answers_with_single_bytes_changed(
    loop: asyncio.AbstractEventLoop, asked: tuple[str, bool], data: bytes, edits: bytes, sizes: bytes, end: End
) -> None:
    loop.run_until_complete(check(*asked, Said(changed(data, edits), sizes, end)))
