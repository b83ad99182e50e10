"""A replica that requests have found failing is ejected, if the others of its pool can do without it."""

from __future__ import annotations

from math import inf

import pytest

from gateway.pools.replica import ReplicaState
from tests.gateway.pools.made import Request, pool, replica

ANY = Request()


def test_an_ejection_is_one_line_in_the_log_and_the_replica_is_probed(caplog: pytest.LogCaptureFixture) -> None:
    replicas = [replica(name) for name in "abcd"]
    made, probed = pool("m", *replicas), []
    replicas[0].on_suspicion = lambda: probed.append("a")
    for _ in range(3):
        made.ejections.suspect("a", "latency", "It hangs.")
    assert [record.message for record in caplog.records] == ["a is ejected for 5 s (latency): It hangs."]
    assert probed == ["a"] * 3
    assert {made.pick(ANY).name for _ in range(9)} == {"b", "c", "d"}


def test_no_more_than_half_of_a_pool_is_ejected() -> None:
    made = pool("m", *(replica(name) for name in "abcd"))
    for name in "abcd":
        made.ejections.suspect(name, "errors", "It is broken.")
    assert [each.name for each in made.ready] == ["c", "d"]


def test_an_engine_that_says_it_is_dead_is_believed_also_where_it_is_the_only_one() -> None:
    made, probed = pool("m", only := replica("a")), []
    only.on_suspicion = lambda: probed.append("a")
    made.ejections.suspect("a", "dead", "Its core has died.")
    assert (made.ready, repr(only.state), only.reason) == (
        [],
        "<ReplicaState.FAILING: 'failing'>",
        "Its core has died.",
    )
    assert probed == ["a"]
    # What it said before its end comes too late for the one that is started in its place.
    only.set_state(ReplicaState.STARTING)
    made.ejections.suspect("a", "dead", "Its core has died.")
    assert repr(only.state) == "<ReplicaState.STARTING: 'starting'>"


def test_those_that_were_ejected_are_ready_again_where_the_others_are_lost() -> None:
    replicas = [replica(name) for name in "ab"]
    made = pool("m", *replicas)
    made.ejections.suspect("a", "errors", "It is broken.")
    assert made.ready == [replicas[1]]
    replicas[1].set_state(ReplicaState.FAILING)
    assert made.ready == [replicas[0]]


def test_a_replica_of_weight_0_is_not_one_that_the_others_are_spared_for() -> None:
    replicas = [replica(name) for name in "ab"]
    made = pool("m", *replicas)
    replicas[1].set_weight(0)
    made.ejections.suspect("a", "errors", "It is broken.")
    assert made.ready == [replicas[0]]


def test_only_one_that_was_tried_is_readmitted() -> None:
    replicas = [replica(name) for name in "abc"]
    made = pool("m", *replicas)
    made.ejections.suspect("a", "errors", "It is broken.")
    made.ejections.readmit("a")
    assert made.ready == replicas[1:]
    assert repr(made.ejections) == "<Ejections [1 of 3 replicas]>"


@pytest.mark.parametrize(("factor", "ejected"), [(5.0, ["d"]), (0.0, [])])
def test_the_slowest_of_its_peers_is_ejected_unless_that_is_switched_off(factor: float, ejected: list[str]) -> None:
    replicas = [replica(name) for name in "abcd"]
    made = pool("m", *replicas)
    made.ejections.configure(5.0, factor)
    for each in replicas:
        each.latencies = [9.0 if each.name == "d" else 0.1] * 5
    made.ejections.judge_latencies(inf)
    assert [each.name for each in replicas if each.state is ReplicaState.EJECTED] == ejected
