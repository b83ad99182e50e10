"""People who are made up: each has a few hidden interests, and chooses items by them, by popularity, and at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.recommendation.catalogue import Choice, Item

PEOPLE = 400
DAYS = 100.0
SPLIT_DAY = 80.0
"""What is chosen before it may be learned from; what is chosen from it on is to be foretold."""
_FROM_INTERESTS = 0.8
_AT_HOME = 0.7
_SKEW = 0.8


def simulate(items: Sequence[Item], seed: int) -> list[Choice]:
    """Let ``PEOPLE`` choose among items over ``DAYS``, in order of time; the same seed makes the same choices.

    Each person has two to four intents, most of them of one domain. Four choices of five are an item of one of these
    intents, the fifth is any item; in both the more popular are chosen more often (Zipf's law), and none twice.
    """
    draw = np.random.default_rng(seed)
    popularity = 1 / (1 + draw.permutation(len(items))) ** _SKEW
    choices = [choice for number in range(PEOPLE) for choice in _life(f"person-{number + 1}", items, popularity, draw)]
    return sorted(choices, key=lambda choice: choice.day)


def _life(person: str, items: Sequence[Item], popularity: np.ndarray, draw: np.random.Generator) -> list[Choice]:
    wanted = _wanted(items, popularity, draw)
    count = min(5 + int(draw.geometric(0.1)), 40, len(items))
    chosen = draw.choice(len(items), size=count, replace=False, p=wanted)
    days = np.sort(draw.uniform(0, DAYS, count))
    return [Choice(person, int(item), float(day)) for item, day in zip(chosen, days, strict=True)]


def _wanted(items: Sequence[Item], popularity: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return how probable each item is as a new person's choice."""
    intents = _interests(items, draw)
    wanted = (1 - _FROM_INTERESTS) * popularity / popularity.sum()
    for intent, weight in zip(intents, draw.dirichlet(np.ones(len(intents))), strict=True):
        of_intent = np.where([item.intent == intent for item in items], popularity, 0.0)
        wanted += _FROM_INTERESTS * weight * of_intent / of_intent.sum()
    return np.asarray(wanted / wanted.sum())


def _interests(items: Sequence[Item], draw: np.random.Generator) -> list[str]:
    domains = {item.intent: item.domain for item in items}
    home = draw.choice(sorted(set(domains.values())))
    near = [intent for intent in sorted(domains) if domains[intent] == home]
    everywhere = sorted(domains)
    found = (str(draw.choice(near if draw.random() < _AT_HOME else everywhere)) for _ in range(draw.integers(2, 5)))
    return list(dict.fromkeys(found))
