"""Conversations with the client's side of the wire, in literal bytes over real sockets."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import pytest

from gateway.http.client_connection import ClientConnection
from tests.gateway.http.tiny_application import GET, FakeTransport, Held, Limits, Served, open_house
from tests.kit.wire import Wire


def plain(received: bytes) -> bytes:
    """Leave out what differs from run to run: request ids and times."""
    return re.sub(rb"x-request-id: [^\r]+\r\nopenai-processing-ms: \d+\r\n", b"", received)


ANSWER_A = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n/a"


# answers


async def test_an_answer_in_bytes(wire: Wire) -> None:
    await wire.send(b"GET /a?b=c HTTP/1.1\r\nhost: x\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n")
    assert re.sub(rb"ms: \d+", b"ms: 0", await wire.rest()) == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\nx-request-id: mine-1\r\n"
        b"openai-processing-ms: 0\r\ncontent-length: 2\r\n\r\n/a"
    )


async def test_a_connection_serves_many_requests(house: Served, wire: Wire) -> None:
    for number in range(5):
        await wire.request("POST", "/echo", b"%d" % number)
        assert (await wire.response()).body == b"%d" % number
    assert len(house.listener.connections) == 1
    assert house.application.over == [(b"/echo", 200)] * 5


async def test_a_head_that_came_before_is_not_looked_at_again(house: Served, wire: Wire) -> None:
    ids = set()
    for body in (b"one", b"two", b"three", b"", b"x" * 10_000):
        await wire.request("POST", "/echo?a=b", body, {"content-type": "text/plain", "X-A": "1"})
        answer = await wire.response()
        assert (answer.status, answer.body) == (200, body or b"/echo")
        ids.add(answer.header("x-request-id"))
    assert len(ids) == 5
    assert house.application.heads == 1
    told = {(seen.head.method, seen.head.target, seen.head.headers[b"x-a"]) for seen in house.application.seen}
    assert told == {(b"POST", b"/echo?a=b", b"1")}


async def test_a_head_that_came_before_is_looked_at_again_under_other_rules(house: Served, wire: Wire) -> None:
    for snapshot in ("old", "old", "new", "new"):
        house.application.snapshot = snapshot
        await wire.request("POST", "/echo", b"hello")
        assert (await wire.response()).body == b"hello"
    assert house.application.heads == 2


@pytest.mark.parametrize("header", ["x-request-id", "traceparent"])
async def test_a_head_that_differs_each_time_is_looked_at_each_time(house: Served, wire: Wire, header: str) -> None:
    for value in ("1", "1", "2"):
        await wire.request("POST", "/echo", b"hello", {header: value})
        await wire.response()
    assert house.application.heads == 3
    assert [seen.head.headers[header.encode()] for seen in house.application.seen] == [b"1", b"1", b"2"]


async def test_a_body_that_is_too_large_is_refused_behind_a_head_that_came_before() -> None:
    async with open_house(Limits(max_body_bytes=10)) as house, await Wire.connect(house.host, house.port) as wire:
        for body in (b"hello", b"x" * 10, b"x" * 11):
            await wire.request("POST", "/echo", body)
            status = (await wire.response()).status
        assert status == 413


async def test_a_request_in_single_bytes_is_the_same_request(wire: Wire) -> None:
    for byte in b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello":
        await wire.send(bytes([byte]))
    assert (await wire.response()).body == b"hello"


async def test_a_query_is_no_part_of_the_path(house: Served, wire: Wire) -> None:
    await wire.send(b"GET http://else.where/a?b=c%20d HTTP/1.1\r\nhost: x\r\n\r\n")
    await wire.response()
    assert (house.application.seen[0].head.path, house.application.seen[0].head.target) == (b"/a", b"/a?b=c%20d")


async def test_headers_are_known_by_lower_case_names_and_joined(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-ONE: 2\r\n\r\n")
    await wire.response()
    assert house.application.seen[0].head.headers == {b"host": b"x", b"x-one": b"1, 2"}


async def test_a_chunked_body_is_put_together(wire: Wire) -> None:
    await wire.send(
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n1;extension=1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
    )
    assert (await wire.response()).body == b"hello world"


async def test_trailers_do_not_become_headers_of_the_next_request(house: Served, wire: Wire) -> None:
    await wire.send(
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nauthorization: Bearer stolen\r\nhost: y\r\n\r\n" + GET
    )
    assert (await wire.response()).body == b"a"
    assert (await wire.response()).body == b"/a"
    assert house.application.seen[1].head.headers == {b"host": b"x"}


async def test_head_is_answered_without_a_body(wire: Wire) -> None:
    await wire.send(b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await wire.response(to_head=True)
    assert (answer.status, answer.header("content-length")) == (200, "2")
    await wire.send(b"HEAD /refused HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    assert (await wire.response(to_head=True)).status == 404
    assert (await wire.response()).body == b"/a"


async def test_empty_lines_before_a_request_are_skipped(wire: Wire) -> None:
    await wire.send(b"\r\n\r\n" + GET)
    assert (await wire.response()).body == b"/a"


async def test_a_wish_to_upgrade_is_passed_over(house: Served, wire: Wire) -> None:
    wish = b"host: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n"
    await wire.send(b"GET /a HTTP/1.1\r\n" + wish + b"\r\n" + GET)
    assert [(await wire.response()).body for _ in range(2)] == [b"/a", b"/a"]
    await wire.send(b"POST /echo HTTP/1.1\r\n" + wish + b"content-length: 5\r\n\r\nhello" + GET)
    assert [(await wire.response()).body for _ in range(2)] == [b"hello", b"/a"]
    await wire.send((b"GET /b HTTP/1.1\r\n" + wish + b"\r\n") * 1_000)
    assert [(await wire.response()).body for _ in range(1_000)] == [b"/b"] * 1_000
    assert len(house.application.over) == 1_004


async def test_nothing_follows_a_connect(house: Served, wire: Wire) -> None:
    await wire.send(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    assert (await wire.response()).header("connection") == "close"
    await wire.closed()
    assert len(house.application.over) == 1


async def test_white_space_around_a_value_is_not_a_part_of_it(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.1\r\nhost: x\r\ny: \t a  b \t \r\n\r\n")
    await wire.response()
    assert house.application.seen[0].head.headers[b"y"] == b"a  b"


# HTTP/1.0


async def test_http_1_0_closes_after_its_answer(wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.0\r\n\r\n")
    assert plain(await wire.rest()).endswith(b"connection: close\r\ncontent-length: 2\r\n\r\n/a")


async def test_http_1_0_stays_when_asked_to(wire: Wire) -> None:
    for _ in range(2):
        await wire.send(b"GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert (await wire.response()).header("connection") == "keep-alive"


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"")
    held.connection.write_chunk(held.context, b"one")
    held.connection.write_chunk(held.context, b"two")
    held.connection.end_stream(held.context)
    held.connection.finished(held.context, perf_counter())
    assert plain(await wire.rest()) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"


# streams


async def test_a_stream_is_chunked(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"a: b\r\n")
    held.connection.write_chunk(held.context, b"0123456789abcdef")
    held.connection.end_stream(held.context)
    held.connection.finished(held.context, perf_counter())
    assert plain(await wire.rest()) == (
        b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"10\r\n0123456789abcdef\r\n0\r\n\r\n"
    )


async def test_a_stream_of_known_length_is_not(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"", 6)
    held.connection.write_raw(b"one")
    held.connection.write_raw(b"two")
    held.connection.finished(held.context, perf_counter())
    answer = await wire.response()
    assert (answer.header("content-length"), answer.body) == ("6", b"onetwo")


async def test_an_answer_that_is_cut_does_not_look_finished(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"")
    held.connection.write_chunk(held.context, b"one")
    await wire.head()
    held.context.keep_alive = False
    held.connection.cut()
    held.connection.finished(held.context, perf_counter())
    assert await wire.rest() == b"3\r\none\r\n"
    assert house.application.over == [(b"/held", 200)]


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


async def test_a_client_that_asks_is_told_to_go_on(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert await wire.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"ok")
    assert (await wire.response()).body == b"ok"


async def test_a_client_that_is_refused_is_not_told_to_go_on(wire: Wire) -> None:
    await wire.send(b"POST /refused HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (404, "close")
    await wire.closed()


async def test_another_expectation_is_refused(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\ncontent-length: 2\r\n\r\n")
    assert (await wire.response()).json["error"]["param"] == "expect"


async def test_http_1_0_cannot_expect_anything(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nok")
    assert plain(await wire.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


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


# strict parsing


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            id="both lengths",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            id="both lengths, the other way round",
        ),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhello", id="signed length"),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 5\r\n\r\nhello", id="list of lengths"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", id="two lengths"
        ),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n", id="overflow"),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip"),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", id="xchunked"),
        pytest.param(b"POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked in HTTP/1.0"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            id="bare LF after a chunk's size",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
            id="chunk size with prefix",
        ),
        pytest.param(b"GET /a HTTP/1.1\nhost: x\n\n", id="bare LF"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\ny: z\r\n\r\n", id="bare LF between headers"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\ry: z\r\n\r\n", id="bare CR"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny: a\x01b\r\n\r\n", id="control character in a value"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny: a\x00b\r\n\r\n", id="NUL in a value"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny\x01: a\r\n\r\n", id="control character in a name"),
        pytest.param(b"GET /a\x01 HTTP/1.1\r\nhost: x\r\n\r\n", id="control character in the target"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost : x\r\n\r\n", id="space before the colon"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny: a\r\n b\r\n\r\n", id="folded header"),
        pytest.param(b"GET /a HTTP/1.1\r\n host: x\r\n\r\n", id="space before the first header"),
        pytest.param(b"GET /a HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\nauthorization: a\r\nAuthorization: b\r\n\r\n", id="two keys"),
        pytest.param(b"GET /a HTTP/1.2\r\nhost: x\r\n\r\n", id="HTTP/1.2"),
        pytest.param(b"GET /a HTTP/2.0\r\nhost: x\r\n\r\n", id="HTTP/2.0 as a word"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET /a\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"BREW /a HTTP/1.1\r\nhost: x\r\n\r\n", id="unknown method"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
    ],
)
async def test_what_is_ambiguous_is_refused_and_the_connection_closed(
    house: Served, wire: Wire, request_bytes: bytes
) -> None:
    await wire.send(request_bytes + GET)
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (400, "close")
    assert answer.json["error"]["code"] == "malformed_http"
    assert re.fullmatch(r"req-[0-9a-f]+-1", answer.header("x-request-id") or "")
    await wire.closed()
    assert house.application.seen == []


# limits


async def test_a_head_may_be_as_long_as_the_limit_and_no_byte_longer(house: Served, wire: Wire) -> None:
    start = b"GET /a HTTP/1.1\r\nhost: x\r\ny: "
    fitting = start + b"z" * (2_000 - len(start) - 4) + b"\r\n\r\n"
    await wire.send(fitting)
    assert (await wire.response()).status == 200
    await wire.send(fitting.replace(b"z", b"zz", 1))
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["code"]) == (431, "headers_too_large")
    await wire.closed()


async def test_a_large_body_right_behind_the_head_does_not_make_the_head_larger(wire: Wire) -> None:
    body = b"x" * 100_000
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + body + GET)
    assert (await wire.response()).body == body
    assert (await wire.response()).body == b"/a"


async def test_a_head_without_end_is_refused_while_it_comes(wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.1\r\nhost: x\r\ny: " + b"z" * 10_000)
    assert (await wire.response()).status == 431


async def test_trailers_without_end_are_refused_while_they_come(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\ny: ")
    await wire.send(b"z" * 10_000)
    assert (await wire.response()).status == 431


@pytest.mark.parametrize("name", ["y", "y%d"])
async def test_every_header_line_counts(wire: Wire, name: str) -> None:
    lines = "".join(f"{name % number if '%' in name else name}: z\r\n" for number in range(20))
    await wire.send(f"GET /a HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["message"]) == (431, "More than 20 headers.")


async def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000001\r\n\r\n")
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")
    assert house.application.seen == []


async def test_a_chunked_body_is_refused_when_it_has_become_too_large(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(4):
        await wire.send(b"40000\r\n" + b"x" * 0x40000 + b"\r\n")
    assert (await wire.response()).status == 413


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


async def test_a_small_refused_body_leaves_the_connection_usable(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello" + GET)
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (404, None)
    assert (await wire.response()).body == b"/a"
    assert house.application.over == [(b"/refused", 404), (b"/a", 200)]


@pytest.mark.parametrize("framing", [b"content-length: 100000", b"transfer-encoding: chunked"])
async def test_a_large_or_endless_refused_body_does_not(wire: Wire, framing: bytes) -> None:
    await wire.send(b"POST /locked HTTP/1.1\r\nhost: x\r\n" + framing + b"\r\n\r\n")
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (401, "close")
    await wire.closed()


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


@asynccontextmanager
async def slow_reader(house: Served) -> AsyncIterator[socket.socket]:
    """A client that reads only when told to, with as small a window as the kernel allows."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.setblocking(False)
        await loop.sock_connect(client, (house.host, house.port))
        await loop.sock_sendall(client, b"GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        yield client


async def read_all(client: socket.socket) -> bytes:
    received = bytearray()
    async with asyncio.timeout(10):
        while data := await asyncio.get_running_loop().sock_recv(client, 2**20):
            received += data
    return bytes(received)


def fill(held: Held) -> int:
    """Write until the client does not keep up; return how many bytes it took."""
    written = 0
    held.connection.begin_stream(held.context, 200, b"")
    while "pause" not in held.calls:
        held.connection.write_chunk(held.context, b"x" * 65_536)
        written += 65_536
    return written


async def test_a_client_that_stops_reading_pauses_its_answer_and_reading_on_resumes_it(house: Served) -> None:
    async with slow_reader(house) as client:
        held = await house.held()
        written = fill(held)
        reading = asyncio.ensure_future(read_all(client))
        await held.until("resume")
        held.connection.end_stream(held.context)
        held.connection.finished(held.context, perf_counter())
        assert (await reading).count(b"x" * 65_536) == written // 65_536
        assert held.calls == ["pause", "resume"]


async def test_a_client_that_does_not_read_on_is_left(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        fill(held)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 29)
        assert held.calls == ["pause"]
        house.listener.tick(now + 31)
        assert held.calls == ["pause", "client_stalled"]
        await house.empty()
        assert house.application.over == [(b"/held", 499)]


async def test_while_there_is_room_for_more_it_may_be_the_engine_that_is_slow(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        held.connection.begin_stream(held.context, 200, b"")
        while not held.connection.unwritten:
            held.connection.write_chunk(held.context, b"x" * 16_384)
            await asyncio.sleep(0)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 31)
        assert held.calls == []
        held.connection.finished(held.context, perf_counter())
        house.listener.tick(now + 60)
        assert not held.connection.transport.is_closing()
        house.listener.tick(now + 62)
        assert held.connection.transport.is_closing()


async def test_what_the_gateway_writes_is_no_sign_of_a_client_that_reads(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        fill(held)
        now = perf_counter()
        house.listener.tick(now)
        held.connection.write_chunk(held.context, b": keep-alive\n\n")
        house.listener.tick(now + 31)
        assert held.calls == ["pause", "client_stalled"]


async def test_a_finished_answer_is_not_cut_while_its_client_still_reads(house: Served) -> None:
    async with slow_reader(house) as client:
        held = await house.held()
        body = b"x" * 20_000_000
        held.finish(body)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 29)
        assert (await read_all(client)).endswith(b"\r\n\r\n" + body)


async def test_a_finished_answer_that_nobody_reads_is_cut_in_the_end(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        held.finish(b"x" * 20_000_000)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 31)
        await house.empty()
    assert house.application.over == [(b"/held", 200)]


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


async def test_a_refused_request_leaves_the_connection_usable(wire: Wire) -> None:
    await wire.send(b"GET /full HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    answer = await wire.response()
    assert (answer.status, answer.header("retry-after-ms")) == (503, "2000")
    assert (await wire.response()).status == 200


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
