"""How good recommendations are: hit rate and NDCG on later choices, beside simpler ways to recommend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from examples.recommendation.catalogue import Choice, Item
from examples.recommendation.recommender import Recommender
from loadtest.svg.bar_chart import bar_chart
from loadtest.svg.drawing import Drawing

COUNT = 10
OURS = "recommended"

Method = Callable[[str], Sequence[int]]
"""Gives a person ``COUNT`` items, by index, the best first."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What a method reaches, as means over people."""

    hit_rate: float
    """The share of people who chose at least one of the ten later."""
    ndcg: float
    """Normalized discounted cumulative gain (Järvelin and Kekäläinen, 2002): 1 where the best places are all right."""
    intents: float
    """How many different intents are among the ten."""


def hit(found: Sequence[int], wanted: Collection[int]) -> bool:
    """Return whether anything that was found is wanted."""
    return any(item in wanted for item in found)


def ndcg(found: Sequence[int], wanted: Collection[int]) -> float:
    """Return the gain of what was found, discounted by the logarithm of its place, as a share of the best possible."""
    discounts = 1 / np.log2(np.arange(2, COUNT + 2))
    gained = sum(discount for item, discount in zip(found, discounts, strict=False) if item in wanted)
    return float(gained / discounts[: len(wanted)].sum())


def compare(items: Sequence[Item], recommender: Recommender, later: Iterable[Choice], seed: int) -> dict[str, Quality]:
    """Measure each method on all people who chose something ``later``, among the items they had not chosen before."""
    wanted: dict[str, set[int]] = {}
    for choice in later:
        wanted.setdefault(choice.person, set()).add(choice.item)
    methods = Baselines(items, recommender, seed).methods()
    methods[OURS] = lambda person: [each.item for each in recommender.recommend(person, COUNT)]
    return {name: _quality(method, wanted, items) for name, method in methods.items()}


def mean(qualities: Sequence[Quality]) -> Quality:
    """Return the means over several measurements."""
    rows = np.array([(each.hit_rate, each.ndcg, each.intents) for each in qualities])
    return Quality(*(float(value) for value in rows.mean(axis=0)))


def table(qualities: dict[str, Quality]) -> str:
    """Write a table in Markdown."""
    lines = [f"| | hit rate@{COUNT} | NDCG@{COUNT} | intents among the ten |", "|---|--:|--:|--:|"]
    for name, each in qualities.items():
        lines.append(f"| {name} | {100 * each.hit_rate:.1f} % | {100 * each.ndcg:.1f} % | {each.intents:.1f} |")
    return "\n".join(lines)


def chart(qualities: dict[str, Quality]) -> Drawing:
    """Draw hit rate and NDCG of each method."""
    hits = [(name, 100 * each.hit_rate) for name, each in qualities.items()]
    gains = [(name, 100 * each.ndcg) for name, each in qualities.items()]
    title = "Recommendations of ten items, against what people chose later"
    return bar_chart(title, [(f"hit rate@{COUNT}, %", hits), (f"NDCG@{COUNT}, %", gains)], OURS)


class Baselines:
    """Ways to recommend that read no text. None recommends what a person has chosen already."""

    def __init__(self, items: Sequence[Item], recommender: Recommender, seed: int) -> None:
        self._recommender = recommender
        self._intents = np.array([item.intent for item in items])
        self._domains = np.array([item.domain for item in items])
        self._draw = np.random.default_rng(seed)

    def methods(self) -> dict[str, Method]:
        """Return each by the name that it has in the table."""
        return {
            "random": lambda person: self._best(person, self._draw.random(len(self._intents))),
            "popular": lambda person: self._best(person, self._recommender.popularity),
            "popular in domain": lambda person: self._best(person, self._popular_in(self._domains, person)),
            "chosen together": lambda person: self._best(person, self._together(person)),
            "popular in intents": lambda person: self._best(person, self._popular_in(self._intents, person)),
        }

    def _popular_in(self, groups: np.ndarray, person: str) -> np.ndarray:
        """Popularity, weighed by how many choices of the person were of the item's group."""
        popularity = self._recommender.popularity
        chosen = Counter(groups[self._recommender.history(person)])
        weights = np.array([chosen[group] for group in groups])
        return np.asarray(weights * (popularity + 0.5) + 1e-6 * popularity)

    def _together(self, person: str) -> np.ndarray:
        every = np.arange(len(self._intents))
        popularity = self._recommender.popularity
        together = self._recommender.chosen_together(every, self._recommender.history(person))
        return np.asarray(together + 1e-6 * popularity)

    def _best(self, person: str, scores: np.ndarray) -> list[int]:
        scores = scores.astype(float)
        scores[self._recommender.history(person)] = -np.inf
        return [int(item) for item in np.argsort(-scores, kind="stable")[:COUNT]]


def _quality(method: Method, wanted: dict[str, set[int]], items: Sequence[Item]) -> Quality:
    found = {person: method(person) for person in wanted}
    return Quality(
        float(np.mean([hit(found[person], wanted[person]) for person in wanted])),
        float(np.mean([ndcg(found[person], wanted[person]) for person in wanted])),
        float(np.mean([len({items[item].intent for item in each}) for each in found.values()])),
    )
