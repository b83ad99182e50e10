"""Conversations with the engines' side of the wire: the engine is a socket that says exactly the bytes it is told."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.chunked import start_of_events
from gateway.http.connection_pool import ConnectionPool
from gateway.http.head_cache import SharedHead
from gateway.http.response_head import ResponseHead, ResponseHeads
from tests.gateway.http.raw_engine import OK, REQUEST, Engine, Notes, connected, ok
from tests.kit.eventually import eventually

# addresses


# answers


async def test_the_request_is_sent_as_it_is(engine: Engine) -> None:
    await engine.ask(b"{}")
    reader, _ = await engine.accept()
    assert await reader.readexactly(len(REQUEST) + 2) == REQUEST + b"{}"


async def test_a_large_request_too(engine: Engine) -> None:
    body = b"x" * 1_000_000
    await engine.ask(body)
    reader, _ = await engine.accept()
    assert await reader.readexactly(len(REQUEST) + len(body)) == REQUEST + body


@pytest.mark.parametrize(
    "pieces",
    [
        (OK,),
        tuple(bytes([byte]) for byte in OK),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no", b"\r\n1\r\nk\r\n0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\nx-late: 1\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK,),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",),
    ],
)
async def test_a_framed_answer_is_received(engine: Engine, pieces: tuple[bytes, ...]) -> None:
    assert await (await engine.answering(*pieces)).response() == (200, b"ok")


async def test_answers_whose_head_came_before_are_received_too(engine: Engine) -> None:
    connection = await connected(engine.pool)
    engine.pool.give_back(connection)
    reader, writer = await engine.accept()
    told: list[tuple[bytes, bytes]] = [(b"content-length", b"3"), (b"x-a", b"1")]
    for body in (b"one", b"three", b"", b"x" * 1000):
        same, notes = await engine.ask()
        assert same is connection
        await reader.readexactly(len(REQUEST) + 2)
        writer.write(ok(body))
        await notes.response()
        assert notes.told == ([(200, told), body, "end"] if body else [(200, told), "end"])
        told = [(b"x-a", b"1")]  # What the head said of the first body's length is not said of the others.


async def test_an_answer_is_received_whatever_other_replicas_answered(engine: Engine) -> None:
    newest = SharedHead[ResponseHead]()
    pools = [ConnectionPool(engine.address, connect_timeout=5.0, heads=ResponseHeads(newest)) for _ in range(3)]
    others = [Engine(engine.address, pool, engine.connections) for pool in pools]
    assert await (await others[0].answering(ok(b"hello"))).response() == (200, b"hello")
    assert "x-a" in repr(newest)
    same = await others[1].answering(ok(b"bye"))
    assert await same.response() == (200, b"bye")
    assert same.told[0] == (200, [(b"x-a", b"1")])
    different = await others[2].answering(ok(b"hello", b"x-b: 2\r\n"))
    assert await different.response() == (200, b"hello")
    assert different.told[0] == (200, [(b"content-length", b"5"), (b"x-a", b"1"), (b"x-b", b"2")])
    assert "x-b" in repr(newest)
    others[0].pool.take()
    assert await (await others[0].answering(ok(b"hello"))).response() == (200, b"hello")
    for pool in pools:
        pool.close()


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ((ok(b"hello")[:30], ok(b"hello")[30:]), b"hello"),
        ((ok(b"hello")[:-2], b"lo"), b"hello"),
        ((ok(b"hello", b"x-b: 2\r\n"),), b"hello"),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",), b"ok"),
    ],
)
async def test_an_answer_is_parsed_where_its_head_came_before_but_not_all_of_it_in_one_read(
    engine: Engine, pieces: tuple[bytes, ...], body: bytes
) -> None:
    await (await engine.answering(ok(b"hello"))).response()
    engine.pool.take()
    assert await (await engine.answering(*pieces)).response() == (200, body)


async def test_bytes_behind_an_answer_whose_head_came_before_spoil_the_connection(engine: Engine) -> None:
    await (await engine.answering(ok(b"hello"))).response()
    engine.pool.take()
    notes = await engine.answering(ok(b"hello") + b"HTTP")
    assert await notes.response() == (200, b"hello")
    assert "0 idle" in repr(engine.pool)


# chunks that are passed on as they are


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_chunks_are_relayed_with_their_framing_once_a_receiver_says_so(engine: Engine) -> None:
    connection, notes = await engine.ask()
    reader, writer = await engine.accept()
    await reader.readexactly(len(REQUEST) + 2)
    relayed: list[bytes] = []
    refused: list[bytes] = []

    def passes(data: bytes) -> int:
        end = 0 if b"usage" in data else data.find(b"\n\n\r\n") + 4
        size = end if start_of_events(data[:end]) else 0
        refused.extend([data[size:]] * (size < len(data)))
        return size

    async def say(piece: bytes) -> None:
        before = len(notes.told) + len(relayed)
        writer.write(piece)
        await eventually(lambda: len(notes.told) + len(relayed) > before)

    async def say_unheard(piece: bytes) -> None:
        before = len(refused)
        writer.write(piece)
        await eventually(lambda: len(refused) > before)

    await say(CHUNKED)
    connection.relay = passes, relayed.append
    first, second, third = chunk(b"data: 1\n\n"), chunk(b"data: 2\n\n"), chunk(b"data: 3\n\n")
    await say(first)  # Only behind a chunk that was parsed is it known where the next one begins.
    assert (relayed, notes.told[1:]) == ([], [b"data: 1\n\n"])
    await say(second)
    assert relayed == [second]
    await say(chunk(b"data: usage\n\n"))
    assert refused == [chunk(b"data: usage\n\n")]
    refused.clear()
    await say_unheard(third[:5])
    await say(third[5:])
    await say(chunk(b"data: 4\n\n") + chunk(b"data: 5\n\n"))
    await say(chunk(b"data: 6\n\n"))
    last = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    await say(last)
    assert relayed == [second, chunk(b"data: 4\n\n"), chunk(b"data: 6\n\n"), chunk(b"data: [DONE]\n\n")]
    parsed = [part for part in notes.told[1:-1] if isinstance(part, bytes)]
    assert b"".join(parsed) == b"data: 1\n\ndata: usage\n\ndata: 3\n\ndata: 5\n\n"
    assert notes.told[-1] == "end"
    # Half of a chunk is offered too; its rest is not, because it begins within a chunk.
    assert refused == [third[:5], chunk(b"data: 5\n\n"), b"0\r\n\r\n"]
    again, _ = await engine.ask()
    assert (again, again.relay) == (connection, None)


async def test_an_answer_that_comes_at_once_may_be_taken_whole(engine: Engine) -> None:
    class Taking(Notes):
        def receive_whole(self, head: ResponseHead, body: bytes) -> bool:
            if body == b"no":
                return False
            self.told.append((head.status, body))
            self.over.set()
            return True

    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    told: list[object] = []
    # The head is parsed at first, and known from then on.
    for body in (b"ok", b"on", b"no", b"ok"):
        connection = engine.pool.take() or await connected(engine.pool)
        notes = Taking()
        connection.send(REQUEST, b"{}", notes)
        if reader is None or writer is None:
            reader, writer = await engine.accept()
        await reader.readexactly(len(REQUEST) + 2)
        writer.write(OK[:-2] + body)
        await notes.over.wait()
        told += notes.told
    assert told == [(200, b"ok"), (200, b"on"), (200, []), b"no", "end", (200, b"ok")]
    assert repr(engine.pool) == f"<ConnectionPool {engine.address.url} [1 open, 1 idle]>"


async def test_behind_an_answer_that_was_taken_whole_the_next_one_begins_anew(engine: Engine) -> None:
    class Taking(Notes):
        def receive_whole(self, head: ResponseHead, body: bytes) -> bool:
            self.told.append((head.status, body))
            return True

    connection = await connected(engine.pool)
    reader, writer = await engine.accept()
    first, second = Taking(), Taking()
    connection.send(REQUEST, b"{}", first)
    await reader.readexactly(len(REQUEST) + 2)
    writer.write(OK)
    await eventually(lambda: first.told == [(200, b"ok")])
    assert engine.pool.take() is connection
    connection.send(REQUEST, b"{}", second)
    await reader.readexactly(len(REQUEST) + 2)
    writer.write(b"HTTP/1.1 404 Not Found\r\n")
    await eventually(lambda: connection._head_bytes > 0)
    assert second.told == []
    writer.write(b"content-length: 2\r\n\r\nno")
    await eventually(lambda: second.told == [(404, b"no")])


async def test_each_answer_has_its_own_head_also_where_it_is_like_one_before(engine: Engine) -> None:
    reader: asyncio.StreamReader | None = None
    for status, kind in ((200, b"a"), (200, b"a"), (200, b"b"), (404, b"b"), (200, b"a")):
        _, notes = await engine.ask()
        if reader is None:
            reader, writer = await engine.accept()
        await reader.readexactly(len(REQUEST) + 2)
        writer.write(
            b"HTTP/1.1 %d X\r\nX-Kind: %b\r\ntransfer-encoding: chunked\r\n\r\n" % (status, kind)
            + b"1\r\n.\r\n0\r\n\r\n"
        )
        assert await notes.response() == (status, b".")
        assert notes.told[0] == (status, [(b"x-kind", kind), (b"transfer-encoding", b"chunked")])


async def test_an_answer_without_length_ends_with_its_connection(engine: Engine) -> None:
    notes = await engine.answering(b"HTTP/1.1 200 OK\r\n\r\nhalf ", b"and half", close=True)
    assert await notes.response() == (200, b"half and half")
    assert "0 idle" in repr(engine.pool)


async def test_one_read_is_one_piece_of_data(engine: Engine) -> None:
    notes = await engine.answering(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    )
    await notes.response()
    assert notes.told == [(200, [(b"transfer-encoding", b"chunked")]), b"abcd", "end"]


async def test_interim_answers_and_trailers_leave_no_headers_behind(engine: Engine) -> None:
    notes = await engine.answering(
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nA: 1\r\n\r\n0\r\nb: 2\r\n\r\n"
    )
    await notes.response()
    assert notes.told[0] == (200, [(b"transfer-encoding", b"chunked"), (b"a", b"1")])


async def test_trailers_do_not_become_headers_of_the_next_answer(engine: Engine) -> None:
    _, first = await engine.ask()
    _, writer = await engine.accept()
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    await eventually(lambda: first.told)
    writer.write(b"0\r\nx-late: 1\r\n\r\n")
    await first.response()
    _, second = await engine.ask()
    writer.write(OK)
    await second.response()
    assert second.told[0] == (200, [(b"content-length", b"2")])


# garbage


@pytest.mark.parametrize(
    "pieces",
    [
        (b"what?",),
        (b"\x00\xff\xfe",),
        (b"HTTP/1.1 abc\r\n\r\n",),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,),
        (b"HTTP/1.1 099 Less\r\ncontent-length: 2\r\n\r\nok",),
    ],
)
async def test_garbage_instead_of_an_answer_is_a_failure(engine: Engine, pieces: tuple[bytes, ...]) -> None:
    notes = await engine.answering(*pieces)
    error = await notes.failure()
    assert (error.answered, error.stale, notes.told) == (False, False, [])
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "a transfer-encoding that was not asked for"),
        (b"HTTP/1.1 099 Less\r\n\r\n", "a status of 99"),
        (b"what?", "Expected HTTP/"),
    ],
)
async def test_a_failure_says_what_is_wrong_with_an_answer(engine: Engine, said: bytes, reason: str) -> None:
    assert reason in str(await (await engine.answering(said)).failure())


@pytest.mark.parametrize("tail", [b"zzz\r\n", b"-1\r\n", b"2\nok\r\n"])
async def test_garbage_within_an_answer_comes_after_what_was_good(engine: Engine, tail: bytes) -> None:
    notes = await engine.answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n" + tail)
    assert (await notes.failure()).answered
    assert notes.told == [(200, [(b"transfer-encoding", b"chunked")]), b"abc"]


@pytest.mark.parametrize(
    "tail",
    [OK, b"garbage", b"\r\n\r\ngarbage", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"HTTP/1.1 200 OK\r\nx: "],
)
async def test_whatever_comes_after_a_whole_answer_does_not_spoil_it(engine: Engine, tail: bytes) -> None:
    notes = await engine.answering(OK + tail)
    assert await notes.response() == (200, b"ok")
    assert notes.told[0] == (200, [(b"content-length", b"2")])
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
async def test_an_engine_that_closes_too_early_has_failed(engine: Engine, said: bytes) -> None:
    notes = await engine.answering(*([said] if said else []), close=True)
    error = await notes.failure()
    assert str(error) == "The engine closed the connection before its response was complete."
    assert (error.answered, error.stale) == (b"\r\n\r\n" in said, False)


# the pool


async def test_a_connection_that_was_closed_while_the_request_was_on_its_way_is_stale(engine: Engine) -> None:
    _, notes = await engine.ask()
    _, writer = await engine.accept()
    writer.write(OK)
    await notes.response()
    _, notes = await engine.ask()
    writer.transport.abort()
    error = await notes.failure()
    assert (error.stale, error.answered) == (True, False)


async def test_a_reused_connection_that_breaks_within_a_head_is_not_stale(engine: Engine) -> None:
    _, notes = await engine.ask()
    _, writer = await engine.accept()
    writer.write(OK)
    await notes.response()
    _, notes = await engine.ask()
    writer.write(b"HTTP/1.1 2")
    writer.close()
    error = await notes.failure()
    assert (error.stale, error.answered) == (False, False)


async def test_an_idle_connection_that_says_something_is_closed(engine: Engine) -> None:
    _, notes = await engine.ask()
    _, writer = await engine.accept()
    writer.write(OK)
    await notes.response()
    writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))


async def test_an_answer_that_comes_before_the_request_is_sent_ends_the_connection(engine: Engine) -> None:
    _, notes = await engine.ask(b"x" * 50_000_000)
    _, writer = await engine.accept()
    writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
    assert await notes.response() == (413, b"")
    assert engine.pool.take() is None
    # Its engine reads nothing of the rest, and keeps its own end open.
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))


async def test_aborting_is_felt_by_the_engine_and_tells_nobody(engine: Engine) -> None:
    connection, notes = await engine.ask()
    assert repr(connection) == f"<UpstreamConnection {engine.address.url} [busy]>"
    reader, _ = await engine.accept()
    await reader.readexactly(len(REQUEST) + 2)
    connection.abort()
    assert await reader.read() == b""
    assert (notes.told, notes.error) == ([], None)
    assert repr(connection) == f"<UpstreamConnection {engine.address.url} [idle]>"


async def test_a_receiver_that_aborts_on_the_head_hears_no_more(engine: Engine) -> None:
    class Aborting(Notes):
        def receive_head(self, head: ResponseHead) -> None:
            super().receive_head(head)
            connection.abort()
            self.over.set()

    connection = await connected(engine.pool)
    notes = Aborting()
    connection.send(REQUEST, b"{}", notes)
    _, writer = await engine.accept()
    writer.write(OK)
    await notes.over.wait()
    await eventually(lambda: "0 open" in repr(engine.pool))
    assert notes.told == [(200, [(b"content-length", b"2")])]


@pytest.mark.parametrize("call", ["receive_whole", "receive_head", "receive_data", "receive_end"])
async def test_a_receiver_that_makes_a_mistake_is_told_of_a_failure(
    engine: Engine, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection, notes = await engine.ask()

    def mistake(*_: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(notes, call, mistake)
    _, writer = await engine.accept()
    writer.write(OK)
    assert (await notes.failure()).answered
    assert "a mistake" in caplog.text
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))
    assert connection.transport.is_closing()


async def test_a_paused_connection_lets_the_engine_feel_it(engine: Engine) -> None:
    connection, notes = await engine.ask()
    _, writer = await engine.accept()
    connection.pause()
    connection.pause()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20000000\r\n\r\n" + b"x" * 20_000_000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await writer.drain()
    assert notes.told == []
    connection.resume()
    connection.resume()
    assert await notes.response() == (200, b"x" * 20_000_000)


# connecting
