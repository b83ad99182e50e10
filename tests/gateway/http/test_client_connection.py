"""Conversations with the client's side of the wire, in literal bytes over real sockets."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter

import pytest

from gateway.http.client_connection import ClientConnection
from tests.gateway.http.tiny_application import GET, FakeTransport, Served, plain
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
