"""Nothing is settled before each process that was there has confirmed it or has ended."""

from __future__ import annotations

from gateway.processes.confirmations import Confirmations


def test_a_subject_is_settled_when_the_last_process_has_confirmed() -> None:
    confirmations = Confirmations()
    assert confirmations.settled("m-0")
    number = confirmations.next_number()
    confirmations.wait_for("m-0", number, [0, 1])
    assert not confirmations.settled("m-0")
    confirmations.confirmed(0, number)
    assert not confirmations.settled("m-0")
    assert repr(confirmations) == "<Confirmations [1 awaited]>"
    confirmations.confirmed(1, number)
    assert confirmations.settled("m-0")


def test_a_number_confirms_all_that_are_lower_and_none_that_is_higher() -> None:
    confirmations = Confirmations()
    for subject in "abc":
        confirmations.wait_for(subject, confirmations.next_number(), [0])
    confirmations.confirmed(0, 2)
    assert [confirmations.settled(subject) for subject in "abc"] == [True, True, False]


def test_what_is_said_again_has_to_be_confirmed_again() -> None:
    confirmations = Confirmations()
    first = confirmations.next_number()
    confirmations.wait_for("m", first, [0])
    confirmations.wait_for("m", confirmations.next_number(), [0])
    confirmations.confirmed(0, first)
    assert not confirmations.settled("m")


def test_a_process_that_has_ended_is_not_waited_for() -> None:
    confirmations = Confirmations()
    number = confirmations.next_number()
    confirmations.wait_for("m", number, [0, 1])
    confirmations.confirmed(0, number)
    confirmations.ended(1)
    assert confirmations.settled("m")


def test_without_processes_everything_is_settled() -> None:
    confirmations = Confirmations()
    confirmations.wait_for("m", confirmations.next_number(), [])
    assert confirmations.settled("m")
