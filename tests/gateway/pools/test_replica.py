"""What requests and probes find of a replica, and what follows; one that drains stays out."""

from __future__ import annotations

import pytest

from gateway.pools import replica as module
from gateway.pools.ejection import Finding
from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.pools.made import Clock, replica


class Overseer:
    """Notes what it is told of replicas."""

    def __init__(self, *replicas: Replica) -> None:
        self.told: list[tuple[str, ...]] = []
        for each in replicas:
            each.overseer = self

    def suspect(self, replica: str, cause: Finding, reason: str) -> None:
        self.told.append((replica, cause, reason))

    def readmit(self, replica: str) -> None:
        self.told.append((replica, "readmit"))


def test_failures_in_a_row_make_a_replica_suspect() -> None:
    suspect = replica("a")
    overseer = Overseer(suspect)
    for _ in range(2):
        suspect.failed("refused")
    suspect.succeeded()
    for _ in range(2):
        suspect.failed("refused")
    assert overseer.told == []
    suspect.failed("refused")
    assert overseer.told == [("a", "failures", "refused")]


def test_errors_in_a_row_make_a_replica_suspect() -> None:
    suspect = replica("a")
    overseer = Overseer(suspect)
    for _ in range(4):
        suspect.erred("Out of memory.")
    suspect.succeeded()
    for _ in range(4):
        suspect.erred("Out of memory.")
    assert overseer.told == []
    suspect.erred("Out of memory.")
    assert overseer.told == [("a", "errors", "Out of memory.")]


def test_what_it_was_asked_before_says_nothing_new_while_it_is_ejected() -> None:
    suspect = replica("a")
    overseer = Overseer(suspect)
    suspect.eject("failures", "refused", 5.0)
    for _ in range(9):
        suspect.failed("refused")
        suspect.erred("no")
    assert overseer.told == []


def test_a_probe_readmits_it_to_one_request_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    suspect = replica("a")
    seconds = []
    for _ in range(9):
        seconds.append(suspect.eject("latency", "slow", 5.0))
        suspect.probe_succeeded(clock.now + seconds[-1] - 0.1)
        assert (suspect.state, suspect.reason) == (ReplicaState.EJECTED, "slow")
        clock.now += seconds[-1]
        suspect.probe_succeeded(clock.now)
        assert suspect.state is ReplicaState.HALF_OPEN
    assert seconds == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert suspect.ejections == {"failures": 0, "errors": 0, "latency": 9}
    suspect.set_state(ReplicaState.READY)
    clock.now += 60.0
    assert suspect.eject("latency", "slow", 5.0) == 5.0


def test_a_probe_that_fails_is_no_matter_of_time() -> None:
    suspect = replica("a")
    suspect.eject("failures", "refused", 5.0)
    suspect.probe_failed("/health answered 500.")
    assert (suspect.state, suspect.probe_failures) == (ReplicaState.FAILING, 1)
    suspect.probe_succeeded(0.0)
    assert suspect.state is ReplicaState.EJECTED


def test_three_probes_in_a_row_that_fail_are_enough_and_so_is_one_of_a_suspect() -> None:
    probed, suspect = replica("a"), replica("b")
    for _ in range(2):
        probed.probe_failed("/health answered 500.")
    probed.probe_succeeded(0.0)
    for _ in range(2):
        probed.probe_failed("/health answered 500.")
    assert probed.ready
    probed.probe_failed("/health answered 500.")
    assert repr(probed) == "<Replica 'a' unix:/run/a.sock [failing; 0 in flight]>"
    suspect.expect_the_worst()
    suspect.probe_failed("/health answered 500.")
    assert suspect.state is ReplicaState.FAILING


def test_one_request_at_a_time_tries_it() -> None:
    suspect = replica("a")
    assert (suspect.claim_trial(), suspect.claim_trial()) == (True, False)
    suspect.trial.release()
    assert suspect.claim_trial()


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
        probed.probe_failed("no answer to a probe")
        probed.set_answers(answers)
    assert probed.ready
    for _ in range(3):
        probed.set_answers(5)
        probed.probe_failed("no answer to a probe")
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
