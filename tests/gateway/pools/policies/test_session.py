"""A session stays at its replica, a replica that comes or goes moves only its share, and none is overloaded."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest

from gateway.pools.policies.session import Session
from gateway.pools.pool import Pool
from gateway.pools.replica import ReplicaState
from tests.gateway.pools.made import Request, pool, replica

SESSIONS = [b"session %d" % number for number in range(2000)]


def pool_of(size: int) -> Pool:
    return pool("m", *(replica(f"m-{number}") for number in range(size)), policy=Session("x-session-id"))


def placed(made: Pool) -> dict[bytes, str]:
    """Send one request of each session, one after the other, and tell where each went."""
    where = {}
    for session in SESSIONS:
        request = Request(session)
        chosen = made.pick(request)
        where[session] = chosen.name
        assert made.released is not None
        made.released(chosen, request)
    return where


def moved(before: dict[bytes, str], after: dict[bytes, str]) -> list[tuple[str, str]]:
    return [(before[session], after[session]) for session in SESSIONS if before[session] != after[session]]


def test_a_session_stays_at_its_replica_and_sessions_spread() -> None:
    made = pool_of(8)
    before = placed(made)
    assert placed(made) == before
    shares = Counter(before.values())
    assert len(shares) == 8
    assert all(0.5 * 250 < share < 1.5 * 250 for share in shares.values())


def test_processes_that_know_the_same_replicas_agree_whatever_their_order() -> None:
    replicas = [replica(f"m-{number}") for number in range(8)]
    one = pool("m", *replicas, policy=Session("x-session-id"))
    other = pool("m", *reversed(replicas), policy=Session("x-session-id"))
    assert placed(one) == placed(other)


def test_a_replica_that_comes_takes_its_share_and_moves_nothing_else() -> None:
    made = pool_of(8)
    before = placed(made)
    made.add(replica("new"))
    changes = moved(before, placed(made))
    assert {to for _, to in changes} == {"new"}
    assert 0.5 * 2000 / 9 < len(changes) < 1.5 * 2000 / 9


def test_a_replica_that_goes_gives_up_its_share_and_moves_nothing_else() -> None:
    made = pool_of(8)
    before = placed(made)
    gone = made.replicas[3]
    gone.set_state(ReplicaState.FAILING)
    failing = placed(made)
    made.remove(gone)
    removed = placed(made)
    for after in (failing, removed):
        assert {was for was, _ in moved(before, after)} == {gone.name}
        assert gone.name not in after.values()
    made.add(replica(gone.name))
    assert placed(made) == before


@pytest.mark.parametrize("requests", [1, 7, 100])
def test_no_replica_gets_more_than_five_quarters_of_its_share_even_from_one_session(requests: int) -> None:
    made = pool_of(8)
    for number in range(1, requests + 1):
        made.pick(Request(b"the only one")).load.entered()
        assert max(each.in_flight for each in made.replicas) <= ceil(1.25 * number / 8)


def test_a_session_comes_back_to_its_replica_when_that_has_room() -> None:
    made = pool_of(8)
    request = Request(b"s")
    home = made.pick(request)
    away = made.pick(request)
    assert away is not home
    assert made.released is not None
    made.released(home, request)
    made.released(away, request)
    assert made.pick(request) is home


def test_a_request_without_a_session_goes_where_the_fewest_are_in_flight() -> None:
    busy, idle = replica("busy", in_flight=1), replica("idle")
    made = pool("m", busy, idle, policy=Session("x-session-id"))
    assert {made.pick(Request()).name for _ in range(10)} == {"idle"}


def test_a_weight_that_changes_moves_sessions_to_the_heavier() -> None:
    one, other = replica("a"), replica("b")
    made = pool("m", one, other, policy=Session("x-session-id"))
    sessions = [Request(session=b"%d" % number) for number in range(400)]

    def share() -> float:
        picked = []
        for session in sessions:
            where = made.pick(session)
            picked.append(where)
            assert made.released is not None
            made.released(where, session)
        return picked.count(other) / len(sessions)

    assert 0.35 < share() < 0.65
    other.set_weight(9)
    assert share() > 0.8
    other.set_weight(1)
    assert 0.35 < share() < 0.65
