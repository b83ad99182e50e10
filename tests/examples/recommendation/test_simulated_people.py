"""Simulated people: reproducible, in order of time, and with a taste."""

from __future__ import annotations

from collections import Counter

import pytest

from examples.recommendation.catalogue import QUESTIONS, Choice, read_items
from examples.recommendation.simulated_people import DAYS, PEOPLE, simulate

ITEMS = read_items(QUESTIONS)


@pytest.fixture(scope="module")
def choices() -> list[Choice]:
    return simulate(ITEMS, 1)


@pytest.fixture(scope="module")
def people(choices: list[Choice]) -> dict[str, list[Choice]]:
    found: dict[str, list[Choice]] = {}
    for choice in choices:
        found.setdefault(choice.person, []).append(choice)
    return found


def test_the_same_seed_makes_the_same_choices(choices: list[Choice]) -> None:
    assert choices == simulate(ITEMS, 1)
    assert choices != simulate(ITEMS, 2)


def test_each_person_chooses_different_items_in_order_of_time(people: dict[str, list[Choice]]) -> None:
    assert len(people) == PEOPLE
    for choices in people.values():
        days = [choice.day for choice in choices]
        assert days == sorted(days)
        assert 0 <= days[0] <= days[-1] <= DAYS
        assert len({choice.item for choice in choices}) == len(choices)


def test_most_choices_of_a_person_are_of_a_few_intents(people: dict[str, list[Choice]]) -> None:
    shares = []
    for choices in people.values():
        counts = Counter(ITEMS[choice.item].intent for choice in choices)
        shares.append(sum(count for _, count in counts.most_common(4)) / len(choices))
    assert 0.7 < sum(shares) / len(shares) < 0.95


def test_some_items_are_far_more_popular_than_others(choices: list[Choice]) -> None:
    counts = Counter(choice.item for choice in choices)
    most = sum(count for _, count in counts.most_common(len(ITEMS) // 10))
    assert most > 0.3 * counts.total()
