"""A replica is ejected after failures in a row, and back when a probe succeeds; one that drains stays out."""

from __future__ import annotations

from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.pools.made import pool, replica


def test_failures_in_a_row_eject_a_replica_until_a_probe_succeeds() -> None:
    suspect = replica("a")
    made = pool("m", suspect)
    suspect.failed("refused")
    suspect.failed("refused")
    suspect.succeeded()
    suspect.failed("refused")
    suspect.failed("refused")
    assert suspect.ready
    suspect.failed("refused")
    assert repr(suspect) == "<Replica 'a' unix:/run/a.sock [failing; 0 in flight]>"
    assert (suspect.ready, suspect.reason, made.ready) == (False, "refused", [])
    suspect.set_state(ReplicaState.READY)
    suspect.failed("refused")
    suspect.failed("refused")
    assert made.ready == [suspect]


def test_only_failed_requests_are_an_ejection() -> None:
    ejected: list[str] = []
    suspect = replica("a")
    suspect.on_ejection = lambda which: ejected.append(f"{which.name}: {which.reason}")
    suspect.set_state(ReplicaState.FAILING, "/health answered 500.")
    suspect.set_state(ReplicaState.READY)
    assert ejected == []
    for _ in range(5):
        suspect.failed("refused")
    assert ejected == ["a: refused"]


def test_what_is_new_is_told_and_nothing_else() -> None:
    told: list[tuple[str, str]] = []

    def tell(changed: Replica) -> None:
        told.append((changed.state, changed.reason))

    observed = replica("a", ready=False)
    observed.observe(tell)
    for _ in range(3):
        observed.set_state(ReplicaState.READY)
    observed.set_state(ReplicaState.FAILING, "gone")
    observed.set_state(ReplicaState.FAILING, "gone again")
    assert told == [("ready", ""), ("failing", "gone"), ("failing", "gone again")]


def test_answers_that_other_processes_got_speak_for_a_replica_whose_probes_fail() -> None:
    probed = replica("a")
    for answers in range(1, 6):
        probed.failed("no answer to a probe")
        probed.set_answers(answers)
    assert probed.ready
    for _ in range(3):
        probed.set_answers(5)
        probed.failed("no answer to a probe")
    assert not probed.ready


def test_a_replica_that_drains_gets_ready_no_more() -> None:
    leaving = replica("a")
    leaving.set_state(ReplicaState.DRAINING)
    for state in (ReplicaState.READY, ReplicaState.FAILING, ReplicaState.STARTING, ReplicaState.STOPPED):
        leaving.set_state(state)
        assert leaving.state is ReplicaState.DRAINING
    leaving.drained()
    assert repr(leaving) == "<Replica 'a' unix:/run/a.sock [stopped; 0 in flight]>"


def test_it_counts_what_it_has_answered() -> None:
    asked = replica("a")
    asked.succeeded()
    asked.failed("refused")
    asked.succeeded()
    assert asked.answers == 2
