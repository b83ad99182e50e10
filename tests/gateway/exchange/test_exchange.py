"""A request between its client and its engines, as a conversation in bytes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

import pytest

from gateway.api.dialects.completions import Completions
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest, GatewayError
from gateway.exchange.exchange import Exchange
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http.upstream import UpstreamError
from tests.kit.playbook import CHAT, Clock, Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"ok":1}')
REFUSED = whole(b'{"error":{"message":"No."}}', b"400 Bad Request")
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD_10 = b"POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def said(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


def status_of(got: bytes) -> int:
    return int(got.split(b" ", 2)[1])


def error_of(got: bytes) -> dict[str, str]:
    found: dict[str, str] = json.loads(got.partition(b"\r\n\r\n")[2])["error"]
    return found


# admission


async def test_requests_that_wait_are_answered_in_their_order() -> None:
    play = Playbook(limit=1)
    clients = [play.new_client() for _ in range(4)]
    for number, client in enumerate(clients):
        client.sends(post(CHAT, user=str(number)))
    assert "1 in flight, 3 queued" in repr(play)
    users = []
    for client in clients:
        users.append(re.findall(rb'"user": "(\d)"', play.engines[0].line.got())[-1])
        play.engines[0].says(GOOD)
        await play.turn()
        assert status_of(client.got()) == 200
    assert users == [b"0", b"1", b"2", b"3"]
    assert set(play.held()) == {0}


async def test_a_full_queue_is_a_503_that_says_when_to_come_back() -> None:
    play = Playbook(limit=1, max_queue=0)
    play.client.sends(post())
    second = play.new_client()
    second.sends(post())
    got = second.got()
    assert status_of(got) == 503
    assert (error_of(got)["code"], error_of(got)["type"]) == ("queue_full", "service_unavailable_error")
    assert b"\r\nretry-after: 1\r\nretry-after-ms: 1000\r\n" in got


async def test_waiting_for_too_long_is_a_503_queue_timeout(clock: Clock) -> None:
    play = Playbook(clock=clock, limit=1, timeouts={"queue": 5.0})
    play.client.sends(post())
    second = play.new_client()
    second.sends(post())
    play.tick(4.9)
    assert second.got() == b""
    play.tick(0.2)
    got = second.got()
    assert (status_of(got), error_of(got)["code"]) == (503, "queue_timeout")
    assert b"\r\nretry-after: " in got
    assert play.held() == (1, 0, 0, 1, 1)


async def test_a_client_that_leaves_the_queue_never_reaches_an_engine() -> None:
    play = Playbook(limit=1)
    play.client.sends(post())
    second = play.new_client()
    second.sends(post())
    second.leaves()
    await play.turn()
    play.engines[0].says(GOOD)
    await play.turn()
    assert len(play.asked) == 1
    assert set(play.held()) == {0}


async def test_a_client_that_leaves_as_it_gets_its_slot_gives_it_back() -> None:
    play = Playbook(limit=1)
    play.client.sends(post())
    second = play.new_client()
    second.sends(post())
    play.engines[0].says(GOOD)
    second.leaves()
    await play.turn()
    assert set(play.held()) == {0}


# whole responses


@pytest.mark.parametrize("cut", [1, 60, 95])
async def test_a_whole_response_arrives_as_the_engine_wrote_it_however_it_was_cut(cut: int) -> None:
    play = Playbook()
    play.client.sends(post())
    play.engines[0].says(GOOD[:cut], GOOD[cut:])
    got = play.client.got()
    assert got.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
    assert got.endswith(b'\r\ncontent-length: 8\r\n\r\n{"ok":1}')
    assert set(play.held()) == {0}


async def test_a_body_too_large_to_be_held_is_relayed_in_pieces() -> None:
    play = Playbook()
    play.client.sends(post())
    body = b"x" * 3_000_000
    response = whole(body)
    play.engines[0].says(response[:2_000_000])
    assert "[relaying; <Attempt at m-0 [answering]>; <BodyRelay [body]>]" in repr(next(iter(play.dispatcher.exchanges)))
    play.engines[0].says(response[2_000_000:])
    assert play.client.got().endswith(b"\r\n\r\n" + body)
    assert set(play.held()) == {0}
    assert play.attempts("ok") == {"m-0": 1}


async def test_half_of_a_large_body_ends_with_a_cut() -> None:
    play = Playbook()
    play.client.sends(post())
    play.engines[0].says(whole(b"x" * 3_000_000)[:2_000_000])
    play.engines[0].line.closes()
    await play.turn()
    assert play.client.transport.aborted
    assert set(play.held()) == {0}


async def test_half_of_a_small_body_is_a_502() -> None:
    play = Playbook()
    play.client.sends(post())
    play.engines[0].says(GOOD[:-1])
    play.engines[0].line.closes()
    await play.turn()
    assert status_of(play.client.got()) == 502


async def test_a_response_has_its_id_and_what_it_cost() -> None:
    play = Playbook()
    play.client.sends(post(headers=b"x-request-id: mine\r\n"))
    play.engines[0].says(GOOD)
    assert re.search(rb"\r\nx-request-id: mine\r\nopenai-processing-ms: \d+\r\n", play.client.got())


# streams


async def test_a_stream_is_relayed_event_by_event_and_ends_with_its_marker() -> None:
    play = Playbook()
    play.client.sends(post(stream=True))
    engine = play.engines[0]
    engine.says(STREAM_HEAD)
    assert play.client.got() == b""
    engine.says(chunk(said("a")))
    got = play.client.got()
    assert b"\r\ntransfer-encoding: chunked\r\n" in got
    assert got.endswith(b"\r\n\r\n" + chunk(said("a")))
    engine.says(chunk(said("b")), chunk(said("c") + said("d")))
    assert play.client.got() == chunk(said("b")) + chunk(said("c") + said("d"))
    engine.says(chunk(DONE))
    assert play.client.got() == chunk(DONE) + END
    assert "[flushing; " in repr(next(iter(play.dispatcher.exchanges)))
    engine.says(END)
    assert set(play.held()) == {0}
    assert "1 open, 1 idle" in repr(engine)


async def test_a_stream_that_breaks_ends_with_an_error_and_its_marker_and_leaves_the_connection_usable() -> None:
    play = Playbook()
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")))
    play.engines[0].line.closes()
    await play.turn()
    got = play.client.got()
    assert b'"code":"upstream_failed"' in got
    assert got.endswith(b"data: [DONE]\n\n\r\n" + END)
    play.client.sends(post())
    play.engines[0].says(GOOD)
    assert status_of(play.client.got()) == 200


async def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection() -> None:
    play = Playbook()
    body = b'{"model": "m", "stream": true}'
    play.client.sends(HEAD_10 % (len(body), body))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")), chunk(DONE), END)
    got = play.client.got()
    assert got.endswith(b"\r\n\r\n" + said("a") + DONE)
    assert b"transfer-encoding" not in got
    assert play.client.transport.ended


async def test_comments_alone_are_no_beginning_of_a_stream() -> None:
    play = Playbook(engines=2)
    play.client.sends(post(stream=True))
    play.last_asked.says(STREAM_HEAD + chunk(b": hello\n\n"))
    assert play.client.got() == b""
    play.last_asked.line.closes()
    await play.turn()
    assert status_of(play.client.got()) == 502


async def test_an_error_instead_of_a_stream_is_asked_of_another_replica() -> None:
    play = Playbook(engines=2)
    play.client.sends(post(stream=True))
    play.last_asked.says(STREAM_HEAD + chunk(b'data: {"error":{"message":"Out of memory.","code":500}}\n\n'))
    assert len(set(play.asked)) == 2
    play.last_asked.says(STREAM_HEAD + chunk(said("a")), chunk(DONE), END)
    assert play.client.got().endswith(chunk(DONE) + END)


async def test_silence_before_a_stream_is_broken_by_comments(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"keep_alive_comment": 10.0})
    play.client.sends(post(stream=True))
    play.tick(10.1)
    assert play.client.got().endswith(chunk(b": keep-alive\n\n"))
    play.tick(9.0)
    assert play.client.got() == b""
    play.tick(2.0)
    assert play.client.got() == chunk(b": keep-alive\n\n")
    play.engines[0].says(STREAM_HEAD + chunk(said("a")))
    assert play.client.got() == chunk(said("a"))


async def test_a_response_that_is_no_stream_cannot_follow_comments(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"keep_alive_comment": 10.0})
    play.client.sends(post(stream=True))
    play.tick(10.1)
    play.client.got()
    play.engines[0].says(GOOD)
    assert b"The engine answered a streaming request without a stream." in play.client.got()
    assert set(play.held()) == {0}


async def test_no_comment_comes_between_a_response_that_is_no_stream_and_its_head() -> None:
    play = Playbook(clock=None)
    play.client.sends(post(stream=True))
    play.engines[0].says(GOOD[:-4])
    play.dispatcher.tick(perf_counter() + 20.0)
    assert play.client.got() == b""
    play.engines[0].says(GOOD[-4:])
    assert play.client.got().endswith(b'{"ok":1}')
    assert set(play.held()) == {0}


async def test_a_stream_that_ends_cleanly_after_all_choices_have_finished_is_complete() -> None:
    play = Playbook()
    play.client.sends(post(stream=True))
    last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    play.engines[0].says(STREAM_HEAD + chunk(said("a")), chunk(last) + END)
    got = play.client.got()
    assert got.endswith(chunk(b"data: [DONE]\n\n") + END)
    assert b"error" not in got
    assert set(play.held()) == {0}


async def test_a_stream_that_comes_in_one_read_without_the_end_of_its_last_event_is_complete() -> None:
    play = Playbook()
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a") + b"data: [DONE]") + END)
    got = play.client.got()
    assert got.endswith(b"data: [DONE]\n\n\r\n" + END)
    assert set(play.held()) == {0}


# deadlines


async def test_no_request_takes_longer_than_the_longest(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"total": 5.0})
    play.client.sends(post())
    play.tick(5.1)
    got = play.client.got()
    assert (status_of(got), error_of(got)["code"]) == (504, "total_timeout")
    assert play.engines[0].line.aborted
    assert play.attempts("timeout") == {"m-0": 1}
    assert play.aborts("timeout") == 1


async def test_a_stream_that_takes_too_long_ends_with_an_error_within_it(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"total": 5.0})
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")))
    play.tick(5.1)
    got = play.client.got()
    assert b'"code":"total_timeout"' in got
    assert got.endswith(b"data: [DONE]\n\n\r\n" + END)


@pytest.mark.parametrize(("said_before", "allowed"), [(b"", "first_byte"), (GOOD[:-1], "between_bytes")])
async def test_a_silent_engine_is_given_up_and_that_counts(said_before: bytes, allowed: str, clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={allowed: 5.0})
    suspected: list[str] = []
    play.replicas[0].on_suspicion = lambda: suspected.append("m-0")
    for _ in range(3):
        play.client.sends(post())
        if said_before:
            play.engines[0].says(said_before)
        play.tick(4.9)
        assert play.client.got() == b""
        assert suspected == []
        play.tick(5.1)
        assert status_of(play.client.got()) == 504
    # It is the last one that is ready, so it is probed and not ejected.
    assert suspected == ["m-0"]
    assert "1 ready" in repr(play.pool)


@pytest.mark.parametrize("begun", [b"", STREAM_HEAD, STREAM_HEAD + chunk(b": soon\n\n")], ids=["", "head", "comment"])
async def test_a_replica_that_does_not_begin_in_time_loses_its_request_to_another_once(
    begun: bytes, clock: Clock
) -> None:
    play = Playbook(engines=3, clock=clock, timeouts={"first_byte": 5.0})
    play.client.sends(post(stream=True))
    for number in (1, 2):
        assert len(set(play.asked)) == number
        asked = play.last_asked
        asked.says(*filter(None, [begun]))
        play.tick(5.1)
        assert asked.line.aborted
    got = play.client.got()
    # What two replicas cannot begin in time may be the request's fault.
    assert (status_of(got), error_of(got)["code"]) == (504, "first_byte_timeout")
    assert play.attempts("timeout") == {"m-1": 1, "m-0": 1}
    assert play.held() == (0,) * 7


async def test_a_replica_that_does_not_accept_is_named_by_the_code(clock: Clock) -> None:
    play = Playbook(clock=clock)
    play.engines[0].slow_to_accept = True
    play.client.sends(post())
    play.engines[0].connecting.pop().failed(UpstreamError("Not within 1 s.", timed_out=True))
    got = play.client.got()
    assert (status_of(got), error_of(got)["code"]) == (504, "connect_timeout")


async def test_timeouts_that_change_hold_for_the_requests_that_come_then(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"first_byte": 5.0})
    play.client.sends(post())
    play.pool.waits.set_timeouts(play.pool.waits.timeouts._replace(first_byte=1.0))
    other = play.new_client()
    other.sends(post())
    play.tick(1.1)
    assert play.client.got() == b""
    assert error_of(other.got())["message"] == "The engine did not begin to answer within 1 s."
    play.tick(4.0)
    assert error_of(play.client.got())["message"] == "The engine did not begin to answer within 5 s."


async def test_an_engine_that_goes_on_is_not_silent(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"between_bytes": 5.0})
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")))
    for _ in range(5):
        play.tick(4.0)
        play.engines[0].says(chunk(said("a")))
    play.client.got()
    play.engines[0].says(chunk(DONE), END)
    assert play.client.got() == chunk(DONE) + END


async def test_an_engine_that_does_not_end_its_response_loses_its_connection(clock: Clock) -> None:
    play = Playbook(clock=clock)
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")), chunk(DONE))
    play.tick(5.1)
    assert play.engines[0].line.aborted
    assert set(play.held()) == {0}
    assert play.attempts("ok") == {"m-0": 1}


async def test_while_the_client_does_not_read_the_engine_is_not_late(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"between_bytes": 5.0})
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")))
    play.client.stops_reading()
    assert not play.engines[0].line.transport.is_reading()
    play.tick(50.0)
    assert "[relaying" in repr(next(iter(play.dispatcher.exchanges)))


async def test_a_client_may_say_how_long_it_will_wait(clock: Clock) -> None:
    play = Playbook(clock=clock)
    play.client.sends(post(headers=b"x-request-timeout-ms: 50\r\n"))
    assert b"x-request-timeout-ms: 50\r\n" in play.engines[0].line.got()
    play.tick(0.049)
    assert play.client.got() == b""
    play.tick(0.002)
    got = play.client.got()
    assert (status_of(got), error_of(got)["message"]) == (504, "The request took longer than 0.05 s.")


async def test_a_client_cannot_wait_for_longer_than_the_gateway_allows(clock: Clock) -> None:
    play = Playbook(clock=clock, timeouts={"total": 5.0})
    play.client.sends(post(headers=b"x-request-timeout-ms: 60000\r\n"))
    play.tick(5.1)
    assert status_of(play.client.got()) == 504


@pytest.mark.parametrize("value", [b"0", b"-1", b"1.5", b"soon", b"", b"9999999999999"])
async def test_a_time_to_wait_that_is_none_is_refused(value: bytes) -> None:
    play = Playbook()
    play.client.sends(post(headers=b"x-request-timeout-ms: " + value + b"\r\n"))
    got = play.client.got()
    assert (status_of(got), error_of(got)["param"]) == (400, "x-request-timeout-ms")


# the end


async def test_a_client_that_leaves_stops_the_engine() -> None:
    play = Playbook()
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")))
    play.client.leaves()
    await play.turn()
    assert play.engines[0].line.aborted
    assert play.aborts("client_left") == 1
    assert play.attempts("aborted") == {"m-0": 1}
    assert set(play.held()) == {0}


async def test_a_drain_refuses_the_queued_and_ends_the_running() -> None:
    play = Playbook(limit=1)
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD + chunk(said("a")))
    play.client.got()
    second = play.new_client()
    second.sends(post())
    play.dispatcher.refuse_new()
    assert error_of(second.got())["code"] == "shutting_down"
    play.dispatcher.cancel_all()
    assert b'"code":"shutting_down"' in play.client.got()
    assert set(play.held()) == {0}


async def test_a_mistake_of_ours_after_the_response_cuts_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Playbook()
    play.client.sends(post())

    def mistaken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.api.dialects.usage.ResponseMeter.meter", mistaken)
    play.engines[0].says(GOOD)
    assert play.client.transport.aborted
    await play.turn()
    assert set(play.held()) == {0}


# what may wait before a slot is taken


async def test_phases_run_before_a_slot_is_taken_and_their_error_is_the_response() -> None:
    play = Playbook(limit=1)
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def phases() -> None:
        await gate

    exchange, client = begun(play, phases)
    assert repr(exchange) == "<Exchange req-9 'm' [preparing]>"
    assert play.held() == (0, 0, 0, 1, 0)
    gate.set_result(None)
    await play.turn()
    play.engines[0].says(GOOD)
    assert client.got == [200]
    assert set(play.held()) == {0}


@pytest.mark.parametrize(("cause", "status"), [(BadRequest("No."), 400), (ZeroDivisionError(), 500)])
async def test_a_phase_that_raises_ends_the_request(cause: Exception, status: int) -> None:
    play = Playbook()

    async def phases() -> None:
        raise cause

    _, client = begun(play, phases)
    await play.turn()
    assert client.got == [status]
    assert play.asked == []


async def test_a_client_that_leaves_ends_the_phases() -> None:
    play = Playbook()
    ended = asyncio.Event()

    async def phases() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    exchange, _ = begun(play, phases)
    await play.turn()
    exchange.client_left("client_left")
    await asyncio.wait_for(ended.wait(), 5)
    assert play.asked == []
    assert set(play.held()) == {0}


async def test_where_no_slot_can_be_had_after_the_phases_the_client_is_told() -> None:
    play = Playbook(limit=1, max_queue=0)
    play.client.sends(post())

    async def phases() -> None:
        return

    _, client = begun(play, phases)
    await play.turn()
    assert client.got == [503]


class StatusClient:
    """A client that notes the status of each response."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def write_response(
        self, context: RequestContext, now: float, status: int, headers: bytes, body: bytes, length: int | None
    ) -> None:
        context.status = status
        self.got.append(status)

    def write_error(self, context: RequestContext, error: GatewayError) -> None:
        self.got.append(error.status)

    def write_own(self, *_: object) -> None:
        raise AssertionError("an engine is asked")

    def begin_stream(self, *_: object, **__: object) -> None:
        raise AssertionError("no stream was asked for")

    def write_raw(self, data: bytes, /) -> None:
        raise AssertionError("no stream was asked for")

    def write_chunk(self, context: RequestContext, data: bytes) -> None:
        raise AssertionError("no stream was asked for")

    def end_stream(self, context: RequestContext, last: bytes = b"") -> None:
        raise AssertionError("no stream was asked for")

    def cut(self) -> None:
        raise AssertionError("nothing is cut")

    def finished(self, context: RequestContext, now: float) -> None:
        pass


def begun(play: Playbook, phases: Callable[[], Coroutine[Any, Any, None]]) -> tuple[Exchange, StatusClient]:
    """Begin an exchange that has phases."""
    client = StatusClient()
    context = RequestContext(RequestHead("x", b"POST", b"/a", b"/a"), "req-9", received_at=perf_counter(), model="m")
    request = UpstreamRequest(context, b"{}", Completions(), False, False, 0, False)
    return play.dispatcher.begin(play.pool, request, client, phases), client
