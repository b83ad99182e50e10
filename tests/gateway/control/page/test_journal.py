"""Decisions are kept in their order, the same ones as one with a number, and never more than so many."""

from __future__ import annotations

from gateway.control.page.journal import KEPT, Decision, Journal, Kind


def decided(at: float, what: str = "retried", **more: object) -> Decision:
    return Decision(at, Kind.RETRY, what, **more)  # type: ignore[arg-type]


def test_the_latest_comes_first() -> None:
    journal = Journal()
    journal.add(decided(1.0, "a"))
    journal.add(decided(2.0, "b"))
    assert [each.what for each in journal.latest()] == ["b", "a"]


def test_the_same_within_a_minute_is_counted() -> None:
    journal = Journal()
    journal.add(decided(1.0, model="m", number=2))
    journal.add(decided(5.0, model="n"))
    journal.add(decided(50.0, model="m", number=3))
    assert [(each.model, each.number, each.at) for each in journal.latest()] == [("m", 5, 50.0), ("n", 1, 5.0)]


def test_the_same_later_is_another_entry() -> None:
    journal = Journal()
    journal.add(decided(1.0))
    journal.add(decided(100.0))
    assert [each.number for each in journal.latest()] == [1, 1]


def test_another_reason_is_another_decision() -> None:
    journal = Journal()
    journal.add(decided(1.0, reason="a"))
    journal.add(decided(1.0, reason="b"))
    assert len(journal.latest()) == 2


def test_no_more_are_kept_than_so_many() -> None:
    journal = Journal()
    for number in range(3 * KEPT):
        journal.add(decided(float(number), f"{number}"))
    assert len(journal.latest()) == KEPT
    assert journal.latest()[0].what == f"{3 * KEPT - 1}"
    assert repr(journal) == f"<Journal [{KEPT} of {KEPT}]>"


def test_one_that_was_forgotten_begins_anew() -> None:
    journal = Journal()
    for at in (0.0, 100.0):
        journal.add(decided(at, "again"))
    for number in range(KEPT):
        journal.add(decided(101.0, f"{number}"))
    journal.add(decided(102.0, "again"))
    assert (journal.latest()[0].what, journal.latest()[0].number, len(journal.latest())) == ("again", 1, KEPT)


def test_of_a_long_reason_the_end_is_kept() -> None:
    journal = Journal()
    journal.add(decided(1.0, reason="x" * 10_000 + "its last words"))
    (kept,) = journal.latest()
    assert kept.reason.endswith("xits last words")
    assert len(kept.reason) == 600
