"""Conversations with the client's side of the wire, in literal bytes over real sockets."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter

import pytest

from gateway.core.errors import GatewayError, RequestTimeout
from gateway.http.body_stream import HIGH_WATER
from gateway.http.client_connection import ClientConnection
from tests.gateway.http.tiny_application import GET, STREAM_BYTES, FakeTransport, Limits, Served, open_house, plain
from tests.kit.eventually import eventually
from tests.kit.memory import MemoryTransport, until
from tests.kit.wire import Wire

ANSWER_A = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n/a"


# answers


async def test_a_connection_serves_many_requests(house: Served, wire: Wire) -> None:
    for number in range(5):
        await wire.request("POST", "/echo", b"%d" % number)
        assert (await wire.response()).body == b"%d" % number
    assert len(house.listener.connections) == 1
    assert house.application.over == [(b"/echo", 200)] * 5


# HTTP/1.0


async def test_http_1_0_closes_after_its_answer(wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.0\r\n\r\n")
    assert plain(await wire.rest()).endswith(b"connection: close\r\ncontent-length: 2\r\n\r\n/a")


async def test_http_1_0_stays_when_asked_to(wire: Wire) -> None:
    for _ in range(2):
        await wire.send(b"GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert (await wire.response()).header("connection") == "keep-alive"


# streams


# pipelining


async def test_pipelined_requests_are_answered_in_their_order(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET + b"GET /b HTTP/1.1\r\nhost: x\r\n\r\n")
    held = await house.held()
    assert repr(held.connection) == "<ClientConnection 127.0.0.1 [busy; 2 pipelined]>"
    assert repr(house.listener) == "<Listener [1 connections, 1 busy]>"
    held.finish()
    assert [(await wire.response()).body for _ in range(3)] == [b"done", b"/a", b"/b"]
    assert repr(held.connection) == "<ClientConnection 127.0.0.1 [idle; 0 pipelined]>"


async def test_a_request_never_overtakes_those_that_wait(house: Served) -> None:
    transport = FakeTransport()
    connection = ClientConnection(house.listener)
    connection.connection_made(transport)
    connection.data_received(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    (await house.held()).finish()
    connection.data_received(b"GET /b HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [part[-2:] for part in transport.written.split(b"HTTP/1.1 200 OK")[1:]] == [b"ne", b"/a", b"/b"]
    connection.connection_lost(None)


async def test_a_deep_pipeline_is_read_no_further(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET * 40)
    held = await house.held()
    assert repr(held.connection) == "<ClientConnection 127.0.0.1 [busy; 40 pipelined]>"
    await wire.send(GET * 10)
    held.finish()
    assert [(await wire.response()).status for _ in range(51)] == [200] * 51


async def test_a_client_that_takes_no_responses_is_given_no_further_ones(house: Served) -> None:
    transport = FakeTransport()
    connection = ClientConnection(house.listener)
    connection.connection_made(transport)
    connection.data_received(GET)
    connection.pause_writing()
    # One whose head is known, and some that are parsed.
    connection.data_received(GET)
    connection.data_received(b"GET /b HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    await asyncio.sleep(0)
    assert repr(connection) == "<ClientConnection unix [idle; 3 pipelined]>"
    assert [path for path, _ in house.application.over] == [b"/a"]
    connection.resume_writing()
    connection.pause_writing()
    await asyncio.sleep(0)
    assert [path for path, _ in house.application.over] == [b"/a", b"/a"]
    connection.resume_writing()
    await eventually(lambda: len(house.application.over) == 4)
    assert [part[-2:] for part in transport.written.split(b"HTTP/1.1 200 OK")[1:]] == [b"/a", b"/a", b"/b", b"/a"]
    connection.connection_lost(None)


async def test_a_refusal_waits_for_the_answers_before_it(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET + b"what?\r\n\r\n" + GET)
    (await house.held()).finish()
    assert [(await wire.response()).status for _ in range(3)] == [200, 200, 400]
    await wire.closed()
    assert house.application.over == [(b"/held", 200), (b"/a", 200), (b"", 400)]


async def test_what_follows_connection_close_is_not_read(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + GET)
    assert (await wire.response()).body == b"/a"
    await wire.closed()
    assert house.application.over == [(b"/a", 200)]


async def test_what_waits_behind_the_last_answer_does_not_keep_the_connection(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + GET)
    (await house.held()).finish()
    assert (await wire.response()).body == b"done"
    house.listener.tick(perf_counter() + 2.1)
    await house.empty()
    assert house.application.over == [(b"/held", 200)]


# Expect: 100-continue


async def test_a_pipelined_client_is_told_to_go_on_when_its_turn_comes(house: Served, wire: Wire) -> None:
    await wire.send(
        b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n"
        b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    )
    (await house.held()).finish()
    assert (await wire.response()).body == b"done"
    assert await wire.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"ok")
    assert (await wire.response()).body == b"ok"


# bodies that are streams

STREAMED = b"POST /streamed HTTP/1.1\r\nhost: x\r\n"


async def test_a_streamed_body_is_read_as_it_arrives_and_the_connection_lives_on(house: Served, wire: Wire) -> None:
    await wire.send(STREAMED + b"content-length: 6\r\n\r\nabc")
    held = await house.held()
    assert await held.stream.read() == b"abc"
    await wire.send(b"def" + GET)
    assert await held.read_all() == b"def"
    held.finish()
    first, second = await wire.response(), await wire.response()
    assert (first.body, first.header("connection"), second.body) == (b"done", None, b"/a")


async def test_a_streamed_body_in_chunks(house: Served, wire: Wire) -> None:
    await wire.send(STREAMED + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nx: y\r\n\r\n" + GET)
    held = await house.held()
    assert await held.read_all() == b"abc"
    held.finish()
    assert [(await wire.response()).body for _ in range(2)] == [b"done", b"/a"]


async def test_the_client_is_not_read_while_enough_of_a_body_waits(house: Served) -> None:
    connection = ClientConnection(house.listener)
    transport = MemoryTransport(connection)
    connection.connection_made(transport)
    connection.data_received(STREAMED + b"content-length: 2000000\r\n\r\n" + bytes(HIGH_WATER))
    assert transport.is_reading()
    connection.data_received(b"x")
    assert not transport.is_reading()
    held = await house.held()
    assert len(await held.stream.read()) == HIGH_WATER + 1
    assert transport.is_reading()
    connection.data_received(bytes(2_000_000 - HIGH_WATER - 1) + GET)
    assert len(await held.read_all()) == 2_000_000 - HIGH_WATER - 1
    held.finish()
    await until(lambda: bytes(transport.written).endswith(b"/a"))
    connection.connection_lost(None)


async def test_a_streamed_body_waits_for_its_turn_and_is_bounded_there_too(house: Served) -> None:
    connection = ClientConnection(house.listener)
    transport = MemoryTransport(connection)
    connection.connection_made(transport)
    connection.data_received(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + STREAMED + b"content-length: 2000000\r\n\r\n")
    connection.data_received(bytes(HIGH_WATER + 1))
    assert not transport.is_reading()
    (await house.held()).finish()
    held = await house.held()
    assert len(await held.stream.read()) == HIGH_WATER + 1
    assert transport.is_reading()
    connection.connection_lost(None)
    assert held.calls == ["client_left"]


async def test_a_held_back_body_is_asked_for_when_it_is_read(house: Served, wire: Wire) -> None:
    await wire.send(STREAMED + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    held = await house.held()
    reading = asyncio.create_task(held.read_all())
    assert await wire.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"ok" + GET)
    assert await reading == b"ok"
    held.finish()
    assert [(await wire.response()).body for _ in range(2)] == [b"done", b"/a"]


async def test_a_held_back_body_that_nobody_wants_is_never_asked_for(house: Served, wire: Wire) -> None:
    await wire.send(STREAMED + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    held = await house.held()
    await held.stream.discard()
    held.finish()
    answer = await wire.response()
    assert (answer.body, answer.header("connection")) == (b"done", "close")
    await wire.closed()


async def test_an_answer_before_the_end_of_the_body_closes_the_connection(house: Served, wire: Wire) -> None:
    await wire.send(STREAMED + b"content-length: 10\r\n\r\nabc")
    (await house.held()).finish()
    answer = await wire.response()
    assert (answer.body, answer.header("connection")) == (b"done", "close")
    await wire.send(b"defghij" + GET)
    await wire.closed()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"transfer-encoding: chunked\r\n\r\n2\r\nabX", 400),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\nfffffff\r\n", 413),
    ],
)
async def test_a_body_that_cannot_go_on_ends_for_its_reader(
    house: Served, wire: Wire, rest: bytes, status: int
) -> None:
    await wire.send(STREAMED + rest)
    held = await house.held()
    if status == 413:
        sending = asyncio.create_task(wire.send(bytes(STREAM_BYTES)))
    with pytest.raises(GatewayError) as refused:
        await held.read_all()
    assert refused.value.status == status
    held.connection.write_error(held.context, refused.value)
    held.connection.finished(held.context, perf_counter())
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (status, "close")
    if status == 413:
        await sending
    await wire.closed()


async def test_a_streamed_body_that_is_announced_too_large_is_refused_before_it_comes(
    house: Served, wire: Wire
) -> None:
    await wire.send(STREAMED + b"content-length: %d\r\n\r\n" % (STREAM_BYTES + 1))
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["message"]) == (
        413,
        "The body is over 4000000 bytes (the test's limit).",
    )
    assert house.application.held.empty()


async def test_a_client_that_falls_silent_in_a_streamed_body_gets_a_408(house: Served, wire: Wire) -> None:
    await wire.send(STREAMED + b"content-length: 10\r\n\r\nabc")
    held = await house.held()
    assert await held.stream.read() == b"abc"
    house.listener.tick(perf_counter() + 59)
    await wire.send(b"d")
    assert await held.stream.read() == b"d"
    house.listener.tick(perf_counter() + 61)
    with pytest.raises(RequestTimeout, match="Nothing more of the body arrived for 60 s"):
        await held.stream.read()
    held.finish()
    assert (await wire.response()).header("connection") == "close"


async def test_a_client_that_leaves_in_a_streamed_body_ends_its_request(house: Served, wire: Wire) -> None:
    await wire.send(STREAMED + b"content-length: 10\r\n\r\nabc")
    held = await house.held()
    await wire.close()
    await held.until("client_left")
    await house.empty()


async def test_heads_that_come_again_and_streamed_bodies_do_not_get_mixed_up(house: Served, wire: Wire) -> None:
    for _ in range(2):
        await wire.request("POST", "/echo", b"one")
        assert (await wire.response()).body == b"one"
        for body in (b"first", b"other"):
            await wire.request("POST", "/streamed", body)
            held = await house.held()
            assert (held.context.body, await held.read_all()) == (b"", body)
            held.finish()
            assert (await wire.response()).body == b"done"


# strict parsing


# limits


async def test_a_client_that_is_still_sending_can_read_why_it_was_refused(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
    for _ in range(64):
        await wire.send(b"x" * 2**18)
    assert (await wire.response()).status == 413
    await wire.closed()
    await wire.close()
    await house.empty()


async def test_a_refused_upload_is_read_for_a_while_and_no_longer(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
    assert (await wire.response()).status == 413
    house.listener.tick(perf_counter() + 1.9)
    assert len(house.listener.connections) == 1
    house.listener.tick(perf_counter() + 2.1)
    await house.empty()


# deadlines


@pytest.mark.parametrize("sent", [GET[:-2], b"P", b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhell"])
async def test_half_a_request_and_silence_is_a_408(house: Served, wire: Wire, sent: bytes) -> None:
    await wire.send(GET + sent)
    assert (await wire.response()).status == 200
    house.listener.tick(perf_counter() + 59)
    house.listener.tick(perf_counter() + 61)
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["message"]) == (408, "The request did not arrive within 60 s.")
    await wire.closed()


async def test_the_deadline_runs_from_the_first_byte_and_not_from_the_last(house: Served, wire: Wire) -> None:
    await wire.send(GET + GET[:1])
    await wire.response()
    begun = perf_counter()
    await wire.send(GET[1:-1])
    house.listener.tick(begun + 60.0)
    assert (await wire.response()).status == 408


async def test_an_idle_connection_is_closed_without_a_word(house: Served, wire: Wire) -> None:
    await wire.send(GET)
    await wire.response()
    house.listener.tick(perf_counter() + 74)
    assert len(house.listener.connections) == 1
    house.listener.tick(perf_counter() + 76)
    await wire.closed()
    await house.empty()


async def test_a_connection_is_not_idle_while_it_waits_for_its_answer(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    held = await house.held()
    house.listener.tick(perf_counter() + 10_000)
    held.finish()
    assert (await wire.response()).body == b"done"


# back-pressure


# the client leaves


@pytest.mark.parametrize("leave", ["close", "reset", "half-close"])
async def test_a_client_that_leaves_aborts_its_answer(house: Served, wire: Wire, leave: str) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    held = await house.held()
    if leave == "close":
        await wire.close()
    elif leave == "reset":
        wire.abort()
    else:
        wire.writer.write_eof()
    await held.until("client_left")
    await house.empty()
    assert house.application.over == [(b"/held", 499)]
    assert repr(held.connection) == "<ClientConnection 127.0.0.1 [closed; 0 pipelined]>"


async def test_a_client_that_leaves_in_the_middle_of_a_request_leaves_nothing(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhell")
    await wire.close()
    await house.empty()
    assert house.application.over == []


async def test_a_client_that_closes_after_an_answer_leaves_nothing(house: Served, wire: Wire) -> None:
    await wire.send(GET)
    await wire.response()
    await wire.close()
    await house.empty()


# the gateway closes


# mistakes


@pytest.mark.parametrize("path", ["/bug", "/bug-in-head"])
async def test_a_mistake_of_ours_is_a_500_and_a_line_in_the_log(
    house: Served, wire: Wire, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        await wire.request("GET", path)
        answer = await wire.response()
    assert (answer.status, answer.json["error"]["type"]) == (500, "server_error")
    assert "ZeroDivisionError" in caplog.text
    assert house.application.over == [(path.encode(), 500)]


async def test_a_mistake_within_an_answer_cuts_it(house: Served, wire: Wire) -> None:
    await wire.request("GET", "/late-bug")
    received = plain(await wire.rest())
    assert b"0\r\n\r\n" not in received
    await house.empty()
    assert house.application.over == [(b"/late-bug", 200)]


# the memory of bodies

SMALL = Limits(max_body_bytes=1_000_000, max_total_body_bytes=1_000_000)


async def held_bytes(house: Served, number: int) -> None:
    await eventually(lambda: house.listener.counts.body_bytes == number)


async def test_a_body_counts_as_held_until_its_request_is_answered(house: Served, wire: Wire) -> None:
    for _ in range(2):  # The second head is known.
        await wire.request("POST", "/held", b"x" * 1000)
        held = await house.held()
        assert house.listener.counts.body_bytes == 1000
        held.context.body = b""
        held.finish()
        await wire.response()
        assert house.listener.counts.body_bytes == 0


@pytest.mark.parametrize("head_is_known", [False, True])
async def test_a_body_beyond_what_may_be_held_is_refused_before_it_is_read(head_is_known: bool) -> None:
    async with open_house(SMALL) as house, await Wire.connect(house.host, house.port) as first:
        async with await Wire.connect(house.host, house.port) as second:
            if head_is_known:
                await second.request("POST", "/echo", b"x" * 100)
                await second.response()
            await first.request("POST", "/held", bytes(950_000))
            held = await house.held()
            if head_is_known:
                await second.request("POST", "/echo", bytes(60_000))
            else:
                await second.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n")
                await second.send(bytes(60_000))
            refused = await second.response()
            assert (refused.status, refused.json["error"]["code"]) == (503, "body_memory_exhausted")
            assert refused.header("retry-after") == "1"
            # A body as small as this one is read and forgotten, and the connection lives on.
            await second.request("POST", "/echo", b"x" * 100)
            assert (await second.response()).status == 200
            held.finish()
            await first.response()
            await second.request("POST", "/echo", bytes(60_000))
            assert (await second.response()).status == 200
        assert house.listener.counts.refused["max_total_body_bytes"] == 1
        assert house.listener.counts.body_bytes == 0


async def test_a_large_body_without_room_is_refused_by_its_head_alone() -> None:
    async with (
        open_house(SMALL) as house,
        await Wire.connect(house.host, house.port) as first,
        await Wire.connect(house.host, house.port) as second,
    ):
        await first.request("POST", "/held", bytes(500_000))
        held = await house.held()
        await second.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 600000\r\n\r\n")
        refused = await second.response()
        assert (refused.status, refused.header("connection")) == (503, "close")
        held.finish()


async def test_a_body_of_unknown_length_is_refused_as_soon_as_there_is_no_room() -> None:
    async with (
        open_house(SMALL) as house,
        await Wire.connect(house.host, house.port) as first,
        await Wire.connect(house.host, house.port) as second,
    ):
        await first.request("POST", "/held", bytes(900_000))
        held = await house.held()
        await second.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(2):
            await second.send(b"ea60\r\n" + bytes(60_000) + b"\r\n")
        assert (await second.response()).json["error"]["code"] == "body_memory_exhausted"
        await held_bytes(house, 900_000)
        held.finish()
        await held_bytes(house, 0)


async def test_what_waits_and_what_arrives_is_held_too_and_let_go_when_the_client_leaves(house: Served) -> None:
    async with await Wire.connect(house.host, house.port) as wire:
        await wire.request("POST", "/held", b"x" * 1000)
        await house.held()
        await wire.request("POST", "/echo", b"x" * 200)
        await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n" + b"x" * 30)
        await held_bytes(house, 1230)
    await held_bytes(house, 0)


async def test_what_is_pipelined_behind_the_last_answer_is_let_go(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc")
    held = await house.held()
    await wire.request("POST", "/echo", b"x" * 200)
    held.finish()
    assert (await wire.response()).body == b"done"
    await held_bytes(house, 0)


async def test_a_body_that_is_too_large_or_malformed_is_let_go(house: Served) -> None:
    chunked = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    for rest, status in ((b"f4240\r\n" + bytes(1_000_000) + b"\r\n", 413), (b"no number\r\n", 400)):
        async with await Wire.connect(house.host, house.port) as wire:
            await wire.send(chunked + rest)
            assert (await wire.response()).status == status
        await held_bytes(house, 0)


async def test_a_body_that_is_streamed_is_not_held(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /streamed HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1000)
    held = await house.held()
    assert len(await held.read_all()) == 1000
    assert house.listener.counts.body_bytes == 0
    held.finish()
