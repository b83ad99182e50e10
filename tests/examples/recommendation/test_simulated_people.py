"""Simulated people: reproducible, in order of time, and with a taste."""

from __future__ import annotations

from collections import Counter

from examples.recommendation.catalogue import QUESTIONS, Choice, read_items
from examples.recommendation.simulated_people import DAYS, PEOPLE, simulate

ITEMS = read_items(QUESTIONS)


def histories(seed: int) -> dict[str, list[Choice]]:
    found: dict[str, list[Choice]] = {}
    for choice in simulate(ITEMS, seed):
        found.setdefault(choice.person, []).append(choice)
    return found


def test_the_same_seed_makes_the_same_choices() -> None:
    assert simulate(ITEMS, 1) == simulate(ITEMS, 1)
    assert simulate(ITEMS, 1) != simulate(ITEMS, 2)


def test_each_person_chooses_different_items_in_order_of_time() -> None:
    people = histories(1)
    assert len(people) == PEOPLE
    for choices in people.values():
        days = [choice.day for choice in choices]
        assert days == sorted(days)
        assert 0 <= days[0] <= days[-1] <= DAYS
        assert len({choice.item for choice in choices}) == len(choices)


def test_most_choices_of_a_person_are_of_a_few_intents() -> None:
    shares = []
    for choices in histories(1).values():
        counts = Counter(ITEMS[choice.item].intent for choice in choices)
        shares.append(sum(count for _, count in counts.most_common(4)) / len(choices))
    assert 0.7 < sum(shares) / len(shares) < 0.95


def test_some_items_are_far_more_popular_than_others() -> None:
    counts = Counter(choice.item for choice in simulate(ITEMS, 1))
    most = sum(count for _, count in counts.most_common(len(ITEMS) // 10))
    assert most > 0.3 * counts.total()
