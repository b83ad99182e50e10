"""One try at one replica is counted once and returns what it took once."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.dialects.completions import Completions
from gateway.core.context import RequestContext, RequestHead
from gateway.exchange.attempt import Attempt
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http.response_head import ResponseHead
from gateway.http.upstream import UpstreamError
from gateway.observe.counters import ModelMetrics
from gateway.pools.replica import Replica
from tests.kit.playbook import Engine

WHOLE = ResponseHead.read(200, [(b"content-type", b"application/json")])
ERROR = ResponseHead.read(500, [])
EVENTS = ResponseHead.read(200, [(b"content-type", b"text/event-stream")])


class Owner:
    """An exchange that notes what it is told."""

    def __init__(self) -> None:
        self.paused = False
        self.heard = False
        self.connect_timeout = 1.0
        self.told: list[tuple[Any, ...]] = []

    def attempt_whole(self, _attempt: Attempt, head: ResponseHead, body: bytes) -> bool:
        self.told.append(("whole", head.status, body))
        return True

    def attempt_head(self, _attempt: Attempt, head: ResponseHead) -> None:
        self.told.append(("head", head.status))

    def attempt_events(self, _attempt: Attempt, events: bytes) -> None:
        self.told.append(("events", events))

    def attempt_body(self, _attempt: Attempt, pieces: bytes) -> None:
        self.told.append(("body", len(pieces)))

    def attempt_ended(self, _attempt: Attempt) -> None:
        self.told.append(("ended",))

    def attempt_refused(self, _attempt: Attempt, head: ResponseHead, body: bytes) -> None:
        self.told.append(("refused", head.status, body))

    def attempt_failed(self, _attempt: Attempt, error: UpstreamError) -> None:
        self.told.append(("failed", str(error)))

    def attempt_garbled(self, _attempt: Attempt, message: str) -> None:
        self.told.append(("garbled", message))


class Tried:
    """An attempt that has been sent, and all that it touches."""

    def __init__(self) -> None:
        self.engine = Engine(0, [])
        self.replica = Replica("m-0", self.engine, ready=True)
        self.counts = ModelMetrics.zero()
        self.owner = Owner()
        self.released: list[str] = []
        head = RequestHead("client", b"POST", b"/a", b"/a")
        request = UpstreamRequest(RequestContext(head), b"{}", Completions(), False, False, 0, False)
        self.attempt = Attempt(self.owner, request, self.replica, self.counts.attempts, self._note_release)

    def _note_release(self, replica: Replica, _request: object) -> None:
        self.released.append(replica.name)

    def sent(self) -> Attempt:
        connection = self.engine.take()
        assert connection is not None
        self.attempt.send(connection)
        return self.attempt

    @property
    def outcomes(self) -> dict[str, int]:
        return {outcome: numbers["m-0"] for outcome, numbers in self.counts.attempts.items() if "m-0" in numbers}


async def test_it_counts_as_in_flight_until_it_is_released() -> None:
    tried = Tried()
    assert repr(tried.attempt) == "<Attempt at m-0 [connecting]>"
    assert tried.replica.in_flight == 1
    attempt = tried.sent()
    assert repr(attempt) == "<Attempt at m-0 [sent]>"
    attempt.release()
    attempt.release()
    assert repr(attempt) == "<Attempt at m-0 [done]>"
    assert tried.replica.in_flight == 0
    assert tried.outcomes == {"aborted": 1}
    assert tried.released == ["m-0"]
    assert tried.engine.line.aborted


async def test_the_first_outcome_stands() -> None:
    tried = Tried()
    attempt = tried.sent()
    attempt.count("failed")
    attempt.count("ok")
    attempt.release("ok")
    assert tried.outcomes == {"failed": 1}


async def test_a_request_is_sent_once() -> None:
    tried = Tried()
    tried.sent()
    with pytest.raises(AssertionError):
        tried.sent()


async def test_a_whole_response_is_offered_and_anything_else_is_not() -> None:
    tried = Tried()
    attempt = tried.sent()
    assert not attempt.receive_whole(EVENTS, b"data: a\n\n")
    assert not attempt.receive_whole(ERROR, b"{}")
    assert attempt.receive_whole(WHOLE, b"{}")
    assert tried.owner.told == [("whole", 200, b"{}")]


async def test_a_small_body_is_held_until_it_is_whole() -> None:
    tried = Tried()
    attempt = tried.sent()
    attempt.receive_head(WHOLE)
    attempt.receive_data(b"{")
    attempt.receive_data(b"}")
    assert tried.owner.told == [("head", 200)]
    attempt.receive_end()
    assert tried.owner.told == [("head", 200), ("whole", 200, b"{}")]


async def test_a_large_body_is_handed_on_from_its_second_mebibyte_on() -> None:
    tried = Tried()
    attempt = tried.sent()
    attempt.receive_head(WHOLE)
    for _ in range(4):
        attempt.receive_data(b"x" * 500_000)
    attempt.receive_end()
    assert tried.owner.told == [("head", 200), ("body", 1_500_000), ("body", 500_000), ("ended",)]


async def test_of_an_endless_error_only_the_beginning_is_kept() -> None:
    tried = Tried()
    attempt = tried.sent()
    attempt.receive_head(ERROR)
    for _ in range(10):
        attempt.receive_data(b"x" * 100_000)
    attempt.receive_end()
    refused = tried.owner.told[-1]
    assert (refused[0], refused[1], len(refused[2])) == ("refused", 500, 300_000)


async def test_whole_events_are_handed_on_and_comments_only_with_the_first_of_them() -> None:
    tried = Tried()
    attempt = tried.sent()
    attempt.receive_head(EVENTS)
    attempt.receive_data(b": hello\n\n")
    attempt.receive_data(b"data: a")
    assert tried.owner.told == [("head", 200)]
    attempt.receive_data(b"\n\ndata: b\n\n")
    attempt.receive_data(b": ping\n\n")
    attempt.receive_end()
    events = [("events", b": hello\n\ndata: a\n\ndata: b\n\n"), ("events", b": ping\n\n")]
    assert tried.owner.told == [("head", 200), *events, ("ended",)]


async def test_an_event_without_end_is_garbled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.sse.MAX_EVENT_BYTES", 10)
    tried = Tried()
    attempt = tried.sent()
    attempt.receive_head(EVENTS)
    attempt.receive_data(b"data: aaaaaaaaaaaaaaaaaaaaa")
    assert tried.owner.told[-1] == ("garbled", "The engine sent an event of more than 10 bytes.")


async def test_a_paused_owner_pauses_its_connection() -> None:
    tried = Tried()
    tried.owner.paused = True
    tried.sent()
    assert not tried.engine.line.transport.is_reading()


async def test_who_is_done_hears_no_failure() -> None:
    tried = Tried()
    attempt = tried.sent()
    attempt.release()
    attempt.receive_failure(UpstreamError("late"))
    assert tried.owner.told == []
