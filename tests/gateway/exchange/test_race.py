"""A second replica is asked where the first is late; the first response wins, and the loser is told to stop."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.pools.replica import ReplicaState
from tests.kit.playbook import CHAT, EMBEDDINGS, Clock, Engine, Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"ok":1}')
STATUS = {
    400: b"400 Bad Request",
    429: b"429 Too Many Requests",
    500: b"500 Internal Server Error",
    503: b"503 Service Unavailable",
}


def refusal(status: int, message: bytes = b"No.") -> bytes:
    return whole(b'{"error":{"message":"%b"}}' % message, STATUS[status])


def asked(engines: int = 2, **options: Any) -> tuple[Playbook, Engine]:
    """Ask for an embedding where it is known what is late; return the engine that was asked first."""
    play = Playbook(engines=engines, hedge=True, **options)
    play.late_after(0.02)
    play.client.sends(post(EMBEDDINGS, input="Hi"))
    return play, play.last_asked


def racing(engines: int = 2, **options: Any) -> tuple[Playbook, Engine, Engine]:
    """Ask a second engine, because the first is late."""
    play, first = asked(engines, **options)
    play.timers.fire()
    assert play.last_asked is not first
    return play, first, play.last_asked


def status_of(play: Playbook) -> int:
    """Return the status that the client got, when nothing is held any more."""
    assert set(play.held()) == {0}
    return int(play.client.got().split(b" ", 2)[1])


async def test_the_second_replica_is_asked_when_the_first_is_later_than_most() -> None:
    play, _ = asked()
    assert play.timers.waiting == [0.02]
    assert len(play.asked) == 1
    play.timers.fire()
    assert len(set(play.asked)) == 2
    assert "[trying; <Attempt at" in repr(next(iter(play.dispatcher.exchanges)))


async def test_the_response_of_the_second_wins_and_the_first_is_told_to_stop() -> None:
    play, first, second = racing()
    second.says(GOOD)
    assert status_of(play) == 200
    assert first.line.aborted
    assert play.aborts("hedged") == 1
    assert play.attempts("ok") == {second.name: 1}
    assert play.attempts("aborted") == {first.name: 1}


async def test_a_response_in_parts_wins_with_its_head() -> None:
    play, first, second = racing()
    second.says(GOOD[:-4])
    assert first.line.aborted
    second.says(GOOD[-4:])
    assert status_of(play) == 200


async def test_the_response_of_the_first_ends_the_second_attempt() -> None:
    play, first, second = racing()
    first.says(GOOD)
    assert status_of(play) == 200
    assert second.line.aborted
    assert play.attempts("aborted") == {second.name: 1}


async def test_a_response_in_time_asks_nobody_else() -> None:
    play, first = asked()
    first.says(GOOD)
    assert status_of(play) == 200
    assert play.timers.waiting == []


@pytest.mark.parametrize(("status", "outcome"), [(429, "ok"), (500, "failed"), (503, "full")])
async def test_a_second_replica_that_fails_leaves_it_to_the_first(status: int, outcome: str) -> None:
    play, first, second = racing()
    second.says(refusal(status))
    assert play.client.got() == b""
    assert play.attempts(outcome) == {second.name: 1}
    first.says(GOOD)
    assert status_of(play) == 200


async def test_a_second_replica_that_breaks_leaves_it_to_the_first() -> None:
    play, first, second = racing()
    second.says(b"nonsense\r\n\r\n")
    first.says(GOOD)
    assert status_of(play) == 200
    assert play.attempts("failed") == {second.name: 1}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_first_replica_that_fails_late_leaves_it_to_the_second(status: int) -> None:
    play, first, second = racing()
    first.says(refusal(status))
    assert play.client.got() == b""
    second.says(GOOD)
    assert status_of(play) == 200
    assert len(play.asked) == 2


@pytest.mark.parametrize(
    ("status", "answered", "then"),
    [(429, 429, refusal(500)), (500, 502, refusal(503)), (503, 503, b"nonsense\r\n\r\n")],
)
async def test_where_both_fail_the_client_is_told_what_the_first_said(status: int, answered: int, then: bytes) -> None:
    play, first, second = racing()
    first.says(refusal(status, b"The first."))
    second.says(then)
    got = play.client.got()
    assert b'"message":"The first."' in got
    assert int(got.split(b" ", 2)[1]) == answered
    assert set(play.held()) == {0}


@pytest.mark.parametrize("status", [429, 503])
async def test_where_the_second_is_silent_the_client_is_told_what_the_first_said(status: int, clock: Clock) -> None:
    play, first, second = racing(clock=clock, timeouts={"first_byte": 1.0})
    first.says(refusal(status))
    play.tick(1.1)
    assert status_of(play) == status
    assert second.line.aborted


@pytest.mark.parametrize(("status", "answered", "third"), [(400, 400, 0), (429, 200, 1), (500, 200, 1), (503, 200, 1)])
async def test_a_third_replica_is_asked_only_if_the_first_failed_or_was_full(
    status: int, answered: int, third: int
) -> None:
    play, first, second = racing(engines=3)
    first.says(refusal(status))
    second.says(refusal(503))
    assert len(play.asked) == 2 + third
    if third:
        play.last_asked.says(GOOD)
    assert status_of(play) == answered


async def test_two_replicas_that_fail_alike_are_the_end_of_a_race() -> None:
    play, first, second = racing(engines=3)
    first.says(refusal(500))
    second.says(refusal(500))
    assert status_of(play) == 502
    assert len(play.asked) == 2


async def test_an_error_that_comes_in_time_is_the_response() -> None:
    play, first = asked()
    first.says(refusal(400))
    assert status_of(play) == 400
    assert play.timers.waiting == []
    assert len(play.asked) == 1


async def test_a_client_that_leaves_ends_both_attempts() -> None:
    play, first, second = racing()
    play.client.leaves()
    await play.turn()
    assert (first.line.aborted, second.line.aborted) == (True, True)
    assert set(play.held()) == {0}
    assert (play.aborts("client_left"), play.aborts("hedged")) == (1, 1)


async def test_a_slow_client_pauses_whichever_replica_wins() -> None:
    play, _first, second = racing()
    play.client.stops_reading()
    second.says(GOOD[:-4])
    assert not second.line.transport.is_reading()
    play.client.reads_on()
    assert second.line.transport.is_reading()


async def test_no_second_replica_is_asked_where_that_is_switched_off() -> None:
    play = Playbook(engines=2, hedge=False)
    play.client.sends(post(EMBEDDINGS, input="Hi"))
    assert play.timers.waiting == []


async def test_what_generates_is_never_asked_twice() -> None:
    play = Playbook(engines=2, hedge=True)
    play.late_after(0.02)
    play.client.sends(post(CHAT, messages=[]))
    assert play.timers.waiting == []


async def test_what_cannot_be_afforded_is_left_to_the_first() -> None:
    play = Playbook(engines=2, hedge=True)
    assert play.pool.hedging is not None
    for _ in range(20):
        play.pool.hedging.answered(0.02)
    play.client.sends(post(EMBEDDINGS, input="Hi"))
    play.timers.fire()
    assert len(play.asked) == 1
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_where_no_other_replica_is_ready_any_more_it_is_left_to_the_first() -> None:
    play, first = asked()
    for replica in play.replicas:
        if replica.name != first.name:
            replica.set_state(ReplicaState.FAILING)
    play.timers.fire()
    assert len(play.asked) == 1
    first.says(GOOD)
    assert status_of(play) == 200
