"""Which replicas are asked for one request, and what is made of their failures."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import pytest

from gateway.pools.ejection import Cause
from gateway.pools.policies.policy import Routable
from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.exchange.test_exchange import STREAM_HEAD, chunk, said
from tests.kit.playbook import Client, Clock, Playbook, post
from tests.kit.scripted import whole

EVENT = chunk(said("a"))
GOOD = whole(b'{"ok":1}')
FAILED = whole(b'{"error":{"message":"No."}}', b"500 Internal Server Error")
FULL = whole(b'{"error":{"message":"Full."}}', b"503 Service Unavailable")


def refusal(status: bytes, headers: bytes = b"") -> bytes:
    return whole(b'{"error":{"message":"No."}}', status, headers)


def status_of(play: Playbook) -> int:
    assert set(play.held()) == {0}
    return int(play.client.got().split(b" ", 2)[1])


async def test_a_full_replica_is_left_for_another() -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(FULL)
    assert len(set(play.asked)) == 2
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    assert sum(play.attempts("full").values()) == 1


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable", b"529 Overloaded"])
async def test_a_replica_that_says_that_it_is_full_is_passed_over_for_a_moment(status: bytes, clock: Clock) -> None:
    play = Playbook(engines=2, clock=clock)
    play.client.sends(post())
    full = play.last_asked
    full.says(refusal(status))
    play.last_asked.says(GOOD)
    for _ in range(4):
        play.client.sends(post())
        assert play.last_asked is not full
        play.last_asked.says(GOOD)
    clock.now += 1.1
    play.client.sends(post())
    play.last_asked.says(GOOD)
    play.client.sends(post())
    play.last_asked.says(GOOD)
    assert full.requests == 2
    assert all(replica.ready for replica in play.pool.replicas)


async def test_a_replica_is_passed_over_for_as_long_as_it_says(clock: Clock) -> None:
    play = Playbook(engines=2, clock=clock)
    play.client.sends(post())
    full = play.last_asked
    full.says(refusal(b"503 Service Unavailable", b"retry-after: 3\r\n"))
    play.last_asked.says(GOOD)
    clock.now += 2.9
    for _ in range(3):
        play.client.sends(post())
        play.last_asked.says(GOOD)
    assert full.requests == 1


async def test_where_all_are_full_one_is_asked_and_the_client_is_told(clock: Clock) -> None:
    play = Playbook(engines=3, clock=clock)
    play.client.sends(post())
    for _ in range(3):
        play.last_asked.says(refusal(b"429 Too Many Requests", b"retry-after: 7\r\n"))
    assert status_of(play) == 429
    asked = len(play.asked)
    play.client.sends(post())
    play.last_asked.says(FULL)
    assert len(play.asked) == asked + 1
    got = play.client.got()
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in got
    assert b'"code":"server_is_overloaded"' in got


async def test_to_leave_a_full_replica_costs_nothing_of_the_retry_budget(clock: Clock) -> None:
    play = Playbook(engines=2, clock=clock)
    for _ in range(30):
        clock.now += 1.1
        play.client.sends(post())
        play.last_asked.says(FULL)
        play.last_asked.says(GOOD)
        assert status_of(play) == 200
    assert play.metrics.of("m").retries == {"retried": 30, "over_budget": 0, "held": 0}


@pytest.mark.parametrize(
    "status", [b"500 Internal Server Error", b"502 Bad Gateway", b"503 Service Unavailable", b"504 Gateway Timeout"]
)
async def test_a_replica_that_fails_is_left_for_another(status: bytes) -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(refusal(status))
    assert len(set(play.asked)) == 2
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    assert play.metrics.of("m").retries == {"retried": 1, "over_budget": 0, "held": 0}


@pytest.mark.parametrize("dies", [False, True])
async def test_a_request_at_which_two_replicas_fail_alike_is_not_tried_at_a_third(dies: bool) -> None:
    play = Playbook(engines=3)
    play.client.sends(post())
    for pid in (b"17", b"23"):
        if dies:
            play.last_asked.line.closes()
            await play.turn()
        else:
            said = b'{"error":{"message":"The core %b died."}}' % pid
            play.last_asked.says(whole(said, b"500 Internal Server Error"))
    assert status_of(play) == 502
    assert len(play.asked) == 2


async def test_a_request_at_which_two_replicas_fail_differently_is_tried_at_a_third() -> None:
    play = Playbook(engines=3)
    play.client.sends(post())
    play.last_asked.says(refusal(b"500 Internal Server Error"))
    play.last_asked.line.closes()
    await play.turn()
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_replicas_that_refuse_the_connection_are_not_what_the_request_kills() -> None:
    play = Playbook(engines=3)
    for engine in play.engines:
        engine.slow_to_accept = True
    play.client.sends(post())
    for _ in range(2):
        next(engine for engine in play.engines if engine.connecting).refuses()
    third = next(engine for engine in play.engines if engine.connecting)
    third.accepts()
    third.says(GOOD)
    assert status_of(play) == 200


RESPONSES = "/v1/responses"


async def test_what_an_engine_may_have_kept_is_not_asked_for_twice() -> None:
    play = Playbook(engines=2)
    play.client.sends(post(RESPONSES))
    play.last_asked.line.closes()
    await play.turn()
    assert status_of(play) == 502
    assert len(play.asked) == 1


async def test_what_an_engine_has_not_begun_is_asked_of_another_even_if_it_would_be_kept() -> None:
    play = Playbook(engines=2)
    play.client.sends(post(RESPONSES))
    play.last_asked.says(FULL)
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_a_pool_that_has_spent_its_retries_tells_the_client_at_once(clock: Clock) -> None:
    play = Playbook(engines=2, clock=clock)
    statuses = []
    for _ in range(11):
        play.client.sends(post())
        play.last_asked.says(FAILED)
        if len(play.asked) % 2 == 0:
            play.last_asked.says(GOOD)
        statuses.append(status_of(play))
    # One tenth of the ten that were answered is the eleventh retry.
    assert statuses == [200] * 11
    play.client.sends(post())
    play.last_asked.says(FAILED)
    assert status_of(play) == 502
    assert play.metrics.of("m").retries == {"retried": 11, "over_budget": 1, "held": 0}
    clock.now += 20.0
    play.client.sends(post())
    play.last_asked.says(FAILED)
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_no_more_than_three_replicas_are_asked_for_one_request() -> None:
    play = Playbook(engines=5)
    play.client.sends(post())
    for _ in range(3):
        play.last_asked.says(FULL)
    assert len(play.asked) == len(set(play.asked)) == 3
    assert status_of(play) == 503


@pytest.mark.parametrize(
    ("status", "answered"),
    [
        (b"400 Bad Request", 400),
        (b"404 Not Found", 404),
        (b"501 Not Implemented", 501),
    ],
)
async def test_what_is_the_requests_own_fault_is_not_asked_of_another_replica(status: bytes, answered: int) -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(refusal(status))
    assert len(play.asked) == 1
    assert status_of(play) == answered


async def test_a_redirect_is_never_followed() -> None:
    play = Playbook()
    play.client.sends(post())
    play.last_asked.says(refusal(b"302 Found", b"location: http://elsewhere/\r\n"))
    assert b"The engine answered with a redirect (302), which is never followed." in play.client.got()


async def test_a_refused_connection_is_tried_at_another_replica() -> None:
    play = Playbook(engines=2)
    for engine in play.engines:
        engine.slow_to_accept = True
    play.client.sends(post())
    (first,) = [engine for engine in play.engines if engine.connecting]
    assert "[trying; <Attempt at" in repr(next(iter(play.dispatcher.exchanges)))
    first.refuses()
    (second,) = [engine for engine in play.engines if engine.connecting]
    second.accepts()
    second.says(GOOD)
    assert status_of(play) == 200
    assert play.attempts("failed") == {first.name: 1}


async def test_a_client_that_leaves_while_connecting_gives_the_connection_up() -> None:
    play = Playbook()
    play.engines[0].slow_to_accept = True
    play.client.sends(post())
    play.client.leaves()
    await play.turn()
    assert play.engines[0].connecting[0].cancelled
    assert set(play.held()) == {0}


async def test_a_stale_connection_is_replaced_and_says_nothing_about_the_replica() -> None:
    play = Playbook()
    play.client.sends(post())
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    play.client.sends(post())
    play.engines[0].line.closes()
    await play.turn()
    play.engines[0].accepts()
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    assert play.attempts("failed") == {}
    assert play.attempts("ok") == {"m-0": 2}


async def test_after_the_first_byte_no_other_replica_is_asked() -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(GOOD[:-1])
    play.last_asked.line.closes()
    await play.turn()
    assert len(play.asked) == 1
    assert status_of(play) == 502


def only(play: Playbook, number: int) -> None:
    """Let the policy pick one replica as long as that is ready."""
    play.pool.set_policy(Preferring(play.replicas[number]))


class Preferring:
    """Picks the same replica whenever it can."""

    def __init__(self, preferred: Replica) -> None:
        self._preferred = preferred

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        return self._preferred if self._preferred in candidates else candidates[0]


NONSENSE = b"nonsense\r\n\r\n"
FAILS = refusal(b"500 Internal Server Error")


def fails(play: Playbook, times: int, said: bytes) -> None:
    """Let the replica that is preferred fail so many requests, which others answer."""
    for _ in range(times):
        play.client.sends(post())
        play.last_asked.says(said)
        play.last_asked.says(GOOD)
        assert status_of(play) == 200


@pytest.mark.parametrize(("said", "times", "cause"), [(NONSENSE, 3, "failures"), (FAILS, 5, "errors")])
async def test_a_replica_that_fails_again_and_again_is_ejected(said: bytes, times: int, cause: Cause) -> None:
    play = Playbook(engines=2)
    only(play, 0)
    fails(play, times - 1, said)
    assert "2 ready" in repr(play.pool)
    fails(play, 1, said)
    assert (play.replicas[0].state, play.replicas[0].ejections[cause]) == (ReplicaState.EJECTED, 1)


async def test_a_response_that_says_that_the_engine_failed_does_not_speak_for_its_replica() -> None:
    play = Playbook(engines=2)
    only(play, 0)
    fails(play, 2, NONSENSE)
    fails(play, 1, FAILS)
    fails(play, 1, NONSENSE)
    assert play.replicas[0].state is ReplicaState.EJECTED


@pytest.mark.parametrize("said", [refusal(b"400 Bad Request"), refusal(b"429 Too Many Requests"), FULL])
async def test_neither_a_clients_mistake_nor_its_departure_nor_a_full_queue_is_a_failure(said: bytes) -> None:
    play = Playbook(engines=2)
    only(play, 0)
    for _ in range(9):
        play.client.sends(post())
        play.last_asked.says(said)
        if play.last_asked is not play.engines[0]:
            play.last_asked.says(GOOD)
        play.client.got()
        leaving = play.new_client()
        leaving.sends(post())
        leaving.leaves()
        await play.turn()
    assert "2 ready" in repr(play.pool)


async def test_the_last_replica_that_is_ready_is_not_ejected() -> None:
    play = Playbook(engines=2)
    play.replicas[1].set_state(ReplicaState.FAILING)
    for _ in range(9):
        play.client.sends(post())
        play.last_asked.says(FAILS)
        assert status_of(play) == 502
    assert play.replicas[0].ready


# an ejected replica is tried with one request


def half_open(clock: Clock | None = None, **gateway: Any) -> Playbook:
    """Give a conversation in which the first of three replicas was ejected, and its time is over."""
    play = Playbook(engines=3, clock=clock, **gateway)
    if clock is not None:
        usual(play, clock)
    play.pool.ejections.suspect("m-0", "failures", "It was.")
    play.replicas[0].probe_succeeded(inf)
    assert play.replicas[0].state is ReplicaState.HALF_OPEN
    return play


async def test_it_gets_one_request_and_is_ready_when_that_is_answered() -> None:
    play = half_open()
    clients = [play.new_client() for _ in range(5)]
    for client in clients:
        client.sends(post())
    assert (play.asked[0], play.asked.count(0)) == (0, 1)
    play.engines[0].says(GOOD)
    assert play.replicas[0].ready


async def test_the_first_event_of_a_stream_is_enough() -> None:
    play = half_open()
    play.client.sends(post(stream=True))
    play.engines[0].says(STREAM_HEAD)
    assert not play.replicas[0].ready
    play.engines[0].says(EVENT)
    assert play.replicas[0].ready


@pytest.mark.parametrize("said", [NONSENSE, FAILS])
async def test_it_is_ejected_again_when_that_request_fails(said: bytes) -> None:
    play = half_open()
    play.client.sends(post())
    play.engines[0].says(said)
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    assert play.replicas[0].state is ReplicaState.EJECTED
    assert play.replicas[0].ejections["failures"] == 2


async def test_a_client_that_leaves_leaves_it_to_the_next_request() -> None:
    play = half_open()
    leaving = play.new_client()
    leaving.sends(post())
    leaving.leaves()
    await play.turn()
    assert play.replicas[0].state is ReplicaState.HALF_OPEN
    play.client.sends(post())
    assert play.asked == [0, 0]
    play.engines[0].says(refusal(b"400 Bad Request"))
    assert play.replicas[0].ready


async def test_what_it_was_asked_before_decides_nothing() -> None:
    play = Playbook(engines=3)
    only(play, 0)
    for client in (before := [play.new_client() for _ in range(4)]):
        client.sends(post())
    play.pool.ejections.suspect("m-0", "failures", "It was.")
    play.replicas[0].probe_succeeded(inf)
    for line in play.engines[0].asked[:3]:
        line.says(NONSENSE)
    play.engines[0].asked[3].says(GOOD)
    assert status_line(before[3]) == 200
    assert play.replicas[0].state is ReplicaState.HALF_OPEN


async def test_where_no_other_is_left_it_is_ready_at_once() -> None:
    play = half_open()
    for replica in play.replicas[1:]:
        replica.set_state(ReplicaState.FAILING)
    assert play.replicas[0].ready


# a replica that does not answer


def usual(play: Playbook, clock: Clock) -> None:
    """Let a window pass in which the replicas respond at once."""
    for replica in play.replicas:
        replica.latencies.extend([0.1] * 5)
    play.pool.ejections.judge_latencies(clock.now + 9.0)
    assert play.pool.ejections.slow_after == 1.1


async def test_requests_at_a_black_hole_eject_it_and_go_on_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock.install(monkeypatch)
    play = Playbook(engines=3, clock=clock)
    usual(play, clock)
    only(play, 0)
    for client in (clients := [play.new_client() for _ in range(6)]):
        client.sends(post())
    # It has answered in this window before it ceased to.
    play.replicas[0].latencies.extend([0.1] * 50)
    for window in (1, 2):
        assert play.replicas[0].ejections["latency"] == 0
        play.tick(1.2)
        for replica in play.replicas[1:]:
            replica.latencies.extend([0.1] * 5)
        play.pool.ejections.judge_latencies(clock.now + 60.0 * window)
    assert play.replicas[0].state is ReplicaState.EJECTED
    assert "began after 1.2 s, those of its peers after 0.1 s" in play.replicas[0].reason
    play.tick(0.1)
    assert set(play.asked[6:]) == {1}
    for line in play.engines[1].asked:
        line.says(GOOD)
    assert {status_line(client) for client in clients} == {200}
    assert (play.aborts("ejected"), play.attempts("timeout")) == (6, {"m-0": 6})
    assert set(play.held()) == {0}


async def test_the_request_with_which_it_is_tried_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock.install(monkeypatch)
    play = half_open(clock)
    play.client.sends(post())
    assert play.asked == [0]
    play.tick(1.2)
    assert play.replicas[0].state is ReplicaState.EJECTED
    assert play.last_asked is not play.engines[0]
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_a_request_that_might_be_done_twice_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock.install(monkeypatch)
    play = half_open(clock)
    play.client.sends(post("/v1/responses", input="Hi"))
    play.tick(1.2)
    assert play.replicas[0].state is ReplicaState.EJECTED
    assert play.asked == [0]
    play.engines[0].says(GOOD)
    assert status_of(play) == 200


def status_line(client: Client) -> int:
    return int(client.got().split(b" ", 2)[1])


async def test_cut_streams_alone_never_make_the_only_replica_unavailable() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    play = Playbook()
    for _ in range(5):
        play.client.sends(post(stream=True))
        play.last_asked.says(head + b'1b\r\ndata: {"choices":[{"x":1}]}\n\n\r\n')
        play.last_asked.line.closes()
        await play.turn()
    assert "1 ready" in repr(play.pool)


async def test_where_no_replica_is_left_the_client_is_told_what_the_last_one_said() -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(FULL)
    play.last_asked.says(FULL)
    assert status_of(play) == 503


STRICT = whole(b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}', b"400 Bad Request")
EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 59\r\n\r\n"
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]'
)


async def test_an_engine_that_knows_no_stream_options_is_asked_once_more_without_and_remembered() -> None:
    play = Playbook()
    play.client.sends(post(stream=True))
    assert play.last_asked.line.got().endswith(b'"stream": true,"stream_options":{"include_usage":true}}')
    play.last_asked.says(STRICT)
    assert play.last_asked.line.got().endswith(b'content-length: 30\r\n\r\n{"model": "m", "stream": true}')
    play.last_asked.says(EVENTS + b"\n\n")
    assert play.client.got().startswith(b"HTTP/1.1 200 OK\r\n")
    play.client.sends(post(stream=True))
    assert play.last_asked.line.got().endswith(b'{"model": "m", "stream": true}')


async def test_a_client_that_asked_for_usage_itself_is_told_that_the_engine_knows_no_stream_options() -> None:
    play = Playbook()
    play.client.sends(post(stream=True, stream_options={"include_usage": True}))
    play.last_asked.says(STRICT)
    assert status_of(play) == 400
    assert len(play.asked) == 1
