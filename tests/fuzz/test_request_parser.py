"""Whatever bytes a client sends, however they are cut: each answer is one, and what is ambiguous is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.context import BodyLimit, RequestContext, RequestHead
from gateway.core.errors import GatewayError, InvalidKey, Unavailable, UnknownUrl
from gateway.http.client_connection import ClientConnection
from gateway.http.downstream import Downstream
from gateway.http.listener import Listener
from tests.fuzz.cases import EDITS, SIZES, Choices, cases, changed, cut
from tests.fuzz.strict import Request, requests
from tests.gateway.http.tiny_application import Limits, Timeouts
from tests.kit.memory import MemoryTransport, until
from tests.kit.wire import Response, Wire

_UNLIKE = re.compile(
    rb"x-request-id: [^\r]+\r\nopenai-processing-ms: \d+\r\n|date: [^\r]+\r\n|HTTP/1\.1 100 Continue\r\n\r\n"
    rb'|content-length: \d+\r\n\r\n\{"error":\{"message":"(?:[^"\\]|\\.)*"'
)
"""What may differ between two readings of the same bytes: ids, times, whether a body had to be asked for, and which of
two mistakes is named."""

_REFUSED_PATHS = (b"/refused", b"/locked")


LIMITS = Limits(max_body_bytes=600, max_head_bytes=300, max_headers=8, max_connections=10)


class Later:
    """An answer that is written in a turn of its own."""

    def __init__(self, context: RequestContext, connection: Downstream) -> None:
        self._context = context
        self._connection = connection
        self._due = asyncio.get_running_loop().call_soon(self._finish)

    def client_left(self, reason: str) -> None:
        self._context.status = 499
        self._due.cancel()

    def pause(self) -> None:
        raise AssertionError("every client reads here")

    def resume(self) -> None:
        raise AssertionError("every client reads here")

    def _finish(self) -> None:
        self._connection.begin_stream(self._context, 200, b"content-type: text/plain\r\n")
        self._connection.write_chunk(self._context, b"later")
        self._connection.end_stream(self._context)
        self._connection.finished(self._context, perf_counter())


class Reading:
    """An answer that first reads the body, which is a stream, and tells back what it was, or why it ended."""

    def __init__(self, application: Echo, context: RequestContext, connection: Downstream) -> None:
        self.waits = False
        self._application = application
        self._context = context
        self._connection = connection
        self.stream = context.stream
        self._task = asyncio.get_running_loop().create_task(self._run())

    def client_left(self, reason: str) -> None:
        self._context.status = 499
        self._task.cancel()
        self._application.reading = None

    def pause(self) -> None:
        raise AssertionError("every client reads here")

    def resume(self) -> None:
        raise AssertionError("every client reads here")

    async def _run(self) -> None:
        context, connection, pieces = self._context, self._connection, [b""]
        assert context.stream is not None
        try:
            self.waits = True
            while piece := await context.stream.read():
                pieces.append(piece)
            self.waits = False
        except GatewayError as error:
            connection.write_error(context, error)
        else:
            self._application.note(context, b"".join(pieces))
            body = b"".join(pieces) or context.head.target
            connection.write_response(context, perf_counter(), 200, b"content-type: text/plain\r\n", body, len(body))
        self._application.reading = None
        connection.finished(context, perf_counter())


class Echo:
    """A application that tells back what it was asked, at once or (below ``/later``) a turn later."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.reading: Reading | None = None
        """The request whose body is a stream, while it comes."""
        self.methods: list[bytes] = []
        self.snapshot = "never changed"

    def admit_head(self, head: RequestHead) -> None:
        if head.path == b"/refused":
            raise UnknownUrl("There is nothing here.")
        if head.path == b"/locked":
            raise InvalidKey("Who are you?")
        if head.path == b"/streamed":
            head.streamed = BodyLimit(LIMITS.max_body_bytes, "limits.max_body_bytes")

    def note(self, context: RequestContext, body: bytes) -> None:
        head = context.head
        headers = {name: value for name, value in head.headers.items() if name != b"upgrade"}
        self.asked.append(Request(head.method, head.target, head.version, headers, body))

    def answer(self, context: RequestContext, connection: Downstream) -> Later | Reading | None:
        head = context.head
        if context.stream is not None:
            self.reading = Reading(self, context, connection)
            return self.reading
        self.note(context, context.body)
        if head.path == b"/full":
            raise Unavailable("No room.", retry_after=2.0)
        if head.path == b"/later":
            return Later(context, connection)
        body = context.body or head.target
        connection.write_response(context, perf_counter(), 200, b"content-type: text/plain\r\n", body, len(body))
        return None

    def refused(self, context: RequestContext, error: GatewayError) -> bytes:
        return error.body()

    def ended(self, context: RequestContext, _now: float) -> None:
        if context.status != 499:
            self.methods.append(context.head.method)


@dataclass(frozen=True)
class Conversation:
    """What came of some bytes: what was handed over, and what was answered."""

    asked: list[Request]
    methods: list[bytes]
    said: bytes

    @property
    def comparable(self) -> tuple[list[Request], list[bytes], bytes]:
        return self.asked, self.methods, _UNLIKE.sub(b"", self.said)

    async def answers(self) -> list[Response]:
        """Read the answers as strictly as the test kit does. Raises ``WireError`` if anything is wrong with them."""
        reader = asyncio.StreamReader()
        reader.feed_data(self.said.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
        reader.feed_eof()
        wire = Wire(reader, cast(asyncio.StreamWriter, None))
        found = [await wire.response(to_head=method == b"HEAD") for method in self.methods]
        assert await reader.read() == b""
        return found


async def converse(pieces: Iterable[bytes]) -> Conversation:
    """Say these pieces over one connection, then wait beyond every deadline; nothing may be left."""
    application = Echo()
    listener = Listener(application, LIMITS, Timeouts())
    connection = ClientConnection(listener)
    transport = MemoryTransport(connection)
    connection.connection_made(transport)
    await transport.receive(pieces)

    def waits_for_its_client() -> bool:
        reading = application.reading
        return reading is not None and reading.waits and "<BodyStream [arriving" in repr(reading.stream)

    await until(
        lambda: waits_for_its_client() or (not connection.busy and "; 0 pipelined" in repr(connection)),
    )
    for seconds in (100, 200, 300):
        listener.tick(perf_counter() + seconds)
        for _ in range(3):
            await asyncio.sleep(0)
    assert not listener.connections
    assert listener.per_client == {}
    return Conversation(application.asked, application.methods, bytes(transport.written))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


# making requests

_LINES = (
    b"GET /a HTTP/1.1\r\n",
    b"POST /echo HTTP/1.1\r\n",
    b"POST /later HTTP/1.1\r\n",
    b"HEAD /a HTTP/1.1\r\n",
    b"POST /streamed HTTP/1.1\r\n",
    b"POST /refused HTTP/1.1\r\n",
    b"POST /locked?a=b HTTP/1.1\r\n",
    b"POST /full HTTP/1.1\r\n",
    b"GET http://x/a?b=c HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"POST /a HTTP/1.0\r\n",
    b"CONNECT x:80 HTTP/1.1\r\n",
    b"GET /" + b"a" * 250 + b" HTTP/1.1\r\n",
    b"GET /a HTTP/1.1\n",
    b"GET  /a HTTP/1.1\r\n",
    b"GET /a HTTP/2.0\r\n",
    b"\r\nGET /a HTTP/1.1\r\n",
)
_HEADERS = (
    b"x-one: 1\r\n",
    b"Connection: keep-alive\r\n",
    b"connection: close\r\n",
    b"expect: 100-continue\r\n",
    b"x-request-id: mine\r\n",
    b"x-request-id: not \xff well formed\r\n",
    b"x-empty:\r\n",
    b"x-space:   a  b \t\r\n",
    b"X-One: 2\r\n",
    b"host: y\r\n",
    b"upgrade: h2c\r\nconnection: upgrade\r\n",
    b"expect: miracles\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"x-long: " + b"y" * 200 + b"\r\n",
    b" folded: yes\r\n",
    b"x-bare: a\nb: c\r\n",
    b"x-nul: \x00\r\n",
    b"no colon\r\n",
    b"x-cr: a\rb\r\n",
)
_FRAMED = (
    b"\r\n",
    b"content-length: 5\r\n\r\nhello",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
    b"transfer-encoding: Chunked\r\n\r\n1\r\n \r\n0\r\nx-trailer: 1\r\nhost: z\r\n\r\n",
    b"content-length: 600\r\n\r\n" + b"x" * 600,
    b"content-length: 601\r\n\r\n" + b"x" * 601,
    b"transfer-encoding: chunked\r\n\r\n190\r\n" + b"x" * 400 + b"\r\n190\r\n" + b"x" * 400 + b"\r\n0\r\n\r\n",
    b"content-length: 5\r\n\r\nhell",
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    b"content-length: +5\r\n\r\nhello",
    b"content-length: 5, 5\r\n\r\nhello",
    b"content-length: 18446744073709551616\r\n\r\n",
    b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n0\r\nx: y\nz\r\n\r\n",
    b"",
)
_GOOD = [
    (line, framed)
    for line in _LINES[:8]
    for framed in _FRAMED[:5]
    if b"encoding" not in framed.lower() or not any(path in line for path in _REFUSED_PATHS)
]
"""A request that is refused by its head keeps its connection only if its body is known to be small."""


def odd_pipeline(script: bytes) -> bytes:
    """Put requests together, some of them wrong."""
    choose = Choices(script)
    parts = []
    for _ in range(1 + choose.number(4)):
        parts += [choose.one(_LINES), b"" if choose.number(16) == 15 else b"Host: x\r\n"]
        parts += [choose.one(_HEADERS) for _ in range(choose.number(4))]
        parts.append(choose.one(_FRAMED))
    return b"".join(parts)


def good_pipeline(script: bytes) -> bytes:
    """Put requests together that are all in order, and leave the connection open."""
    choose = Choices(script)
    parts = []
    for _ in range(1 + choose.number(6)):
        line, framed = choose.one(_GOOD)
        headers = [choose.one(_HEADERS[4:8]) for _ in range(choose.number(2))]
        parts += [line, b"host: x\r\n", *headers, framed]
    return b"".join(parts)


def repeated_heads(script: bytes) -> list[bytes]:
    """Make requests with one of two heads each, which differ in their bodies; most are in order."""
    choose = Choices(script)
    heads = [
        choose.one(_LINES) + b"host: x\r\n" + choose.one(_HEADERS) + b"content-length: %b\r\n" + choose.one(_HEADERS)
        for _ in range(2)
    ]
    requests = []
    for _ in range(2 + choose.number(6)):
        head, body = choose.one(heads), choose.one((b"hello", b"", b"x" * 600, b"x" * 601, b"\r\n\r\n"))
        length = choose.one((b"%d" % len(body),) * 12 + (b"5", b"+5", b"5 ", b"00005", b""))
        requests.append(head.replace(b"%b", length) + b"\r\n" + body)
    return requests


_FOUND = (
    b"GET /? HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://x?b=/c HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://x? HTTP/1.1\r\nHost: x\r\n\r\n",
)
"""What was once read otherwise than strictly."""


# what holds


async def check(data: bytes, sizes: bytes) -> None:
    """Check what must be true of any bytes."""
    whole = await converse([data])
    parts = await converse(cut(data, sizes))
    if b"HTTP/1.1 431 " not in whole.said + parts.said:
        # Where a head's limit strikes depends on what came before the head in the same read.
        assert parts.comparable == whole.comparable
    check_asked(whole.asked, requests(data))
    answers = await whole.answers()
    for at, answer in enumerate(answers):
        check_answer(answer, last=at == len(answers) - 1, to_head=whole.methods[at] == b"HEAD")


def check_asked(asked: Sequence[Request], strictly: Sequence[Request]) -> None:
    """Check that nothing was handed over but what the strictest reading finds too, in its order."""
    allowed = [each for each in strictly if _origin(each).target.partition(b"?")[0] not in _REFUSED_PATHS]
    assert asked == [_origin(each) for each in allowed[: len(asked)]]


def _origin(request: Request) -> Request:
    """Leave out what the gateway leaves out: the host in a target, the wish to upgrade, and the body's length."""
    target = request.target
    if authority := re.match(rb"(?i:https?)://[^/?]*", target):
        path_and_query = target[authority.end() :]
        target = path_and_query if path_and_query.startswith(b"/") else b"/" + path_and_query
    headers = {name: value for name, value in request.headers.items() if name not in (b"upgrade", b"content-length")}
    return Request(request.method, target, request.version, headers, request.body)


def check_answer(answer: Response, *, last: bool, to_head: bool) -> None:
    """Check one answer: well formed, with an id, an error in JSON, and no word after the one that closes."""
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.header("x-request-id") or "")
    assert answer.status in (200, 400, 401, 404, 408, 413, 431, 503)
    if answer.status >= 400 and not to_head:
        assert answer.header("content-type") == "application/json"
        assert answer.json["error"]["message"]
        assert answer.json["error"]["type"]
    if answer.header("connection") == "close":
        assert last
    assert answer.status not in (408, 413, 431) or last


@pytest.mark.parametrize("data", _FOUND)
def test_what_was_read_wrongly_before(loop: asyncio.AbstractEventLoop, data: bytes) -> None:
    loop.run_until_complete(check(data, sizes=b"\1"))
    assert len(loop.run_until_complete(converse([data])).asked) == len(requests(data)) == 1


@cases(0.08)
@given(st.binary(max_size=400), SIZES)
def test_arbitrary_bytes(loop: asyncio.AbstractEventLoop, data: bytes, sizes: bytes) -> None:
    loop.run_until_complete(check(data, sizes))


@cases(0.16)
@given(st.binary(max_size=40).map(odd_pipeline), SIZES)
def test_pipelines_with_odd_requests(loop: asyncio.AbstractEventLoop, data: bytes, sizes: bytes) -> None:
    loop.run_until_complete(check(data, sizes))


@cases(0.16)
@given(st.binary(max_size=24).map(good_pipeline), EDITS, SIZES)
def test_pipelines_with_single_bytes_changed(
    loop: asyncio.AbstractEventLoop, data: bytes, edits: bytes, sizes: bytes
) -> None:
    loop.run_until_complete(check(changed(data, edits), sizes))


@cases(0.08)
@given(st.binary(max_size=40).map(repeated_heads), EDITS)
def test_a_head_that_comes_again_means_what_it_meant_to_the_parser(
    loop: asyncio.AbstractEventLoop, requests: list[bytes], edits: bytes
) -> None:
    async def compared() -> None:
        one_by_one = [*requests[:-1], changed(requests[-1], edits)]
        known, parsed = await converse(one_by_one), await converse([b"".join(one_by_one)])
        if b"HTTP/1.1 431 " not in known.said + parsed.said:
            assert known.comparable == parsed.comparable

    loop.run_until_complete(compared())


@cases(0.08)
@given(st.binary(max_size=40).map(good_pipeline), SIZES)
def test_each_good_request_is_answered(loop: asyncio.AbstractEventLoop, data: bytes, sizes: bytes) -> None:
    async def answered() -> None:
        said = await converse(cut(data, sizes))
        expected = requests(data)
        check_asked(said.asked, expected)
        assert [(answer.status, answer.header("connection")) for answer in await said.answers()] == [
            ({b"/refused": 404, b"/locked": 401, b"/full": 503}.get(each.target.partition(b"?")[0], 200), None)
            for each in expected
        ]
        assert len(expected) == data.count(b" HTTP/1.1\r\n")

    loop.run_until_complete(answered())
