"""Recommends items: candidates by nearest neighbours, a reranking by three signals, a diverse choice, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from examples.recommendation.catalogue import Choice, Item

LATEST = 30
"""How many of the latest choices of a person count."""
NEIGHBOURS = 50
"""How many candidates each of these choices brings."""
_WIDTH = 0.4
_POPULARITY = 0.1
_TOGETHER = 0.6
DIVERSITY = 0.2


@dataclass(frozen=True, slots=True)
class Recommendation:
    """An item, given by its index, and the sentence why it is recommended."""

    item: int
    why: str


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Items by index; for each its score, and its similarity to each of the person's latest choices."""

    items: np.ndarray
    scores: np.ndarray
    similarity: np.ndarray


class Recommender:
    """Recommends by vectors of length 1, a row for each item, and by all choices so far."""

    def __init__(self, items: Sequence[Item], vectors: np.ndarray, choices: Iterable[Choice]) -> None:
        self._items = items
        self._vectors = vectors
        self._chosen_by: defaultdict[int, list[str]] = defaultdict(list)
        self._histories: defaultdict[str, list[int]] = defaultdict(list)
        for choice in choices:
            self._chosen_by[choice.item].append(choice.person)
            self._histories[choice.person].append(choice.item)
        chosen = [item for history in self._histories.values() for item in history]
        self.popularity = np.bincount(np.array(chosen, dtype=np.int64), minlength=len(items))

    def history(self, person: str) -> list[int]:
        """Return what a person has chosen, the latest last; nothing for somebody who is not known."""
        return self._histories.get(person, [])

    def recommend(self, person: str, count: int = 10, diversity: float = DIVERSITY) -> list[Recommendation]:
        """Recommend up to ``count`` items that the person has not chosen yet, the best first.

        Somebody who has chosen nothing gets the popular ones. ``diversity`` is from 0 (the best scores) to 1.
        """
        history = self.history(person)
        if not history:
            return self.popular(count)
        candidates = self._rerank(self._candidates(history), history)
        chosen = self._diverse(candidates, count, diversity)
        return [Recommendation(int(candidates.items[row]), self._why(candidates, row, history)) for row in chosen]

    def popular(self, count: int = 10) -> list[Recommendation]:
        """Return the items that most people have chosen."""
        best = np.argsort(-self.popularity, kind="stable")[:count]
        return [Recommendation(int(item), f"It is popular: {_times(self.popularity[item])}.") for item in best]

    def _candidates(self, history: Sequence[int]) -> np.ndarray:
        """Find the items nearest to each of the latest choices: what is rare in a history gets its place, too."""
        similarity = self._vectors @ self._vectors[history[-LATEST:]].T
        similarity[history] = -np.inf
        most = min(NEIGHBOURS, len(self._items) - 1)
        nearest = np.argpartition(-similarity, most, axis=0)[: most + 1]
        found = np.unique(nearest)
        return found[~np.isin(found, history)]

    def _rerank(self, found: np.ndarray, history: Sequence[int]) -> _Candidates:
        """Score candidates by all latest choices at once, by popularity, and by what was chosen together.

        The first is the logarithm of a kernel density of the history, an exponential of the cosine.
        """
        similarity = self._vectors[found] @ self._vectors[history[-LATEST:]].T
        likeness = np.log(np.exp((similarity - 1) / _WIDTH).mean(axis=1))
        together = self.chosen_together(found, history)
        share = together / max(together.max(initial=0.0), 1.0)
        scores = likeness + _POPULARITY * np.log1p(self.popularity[found]) + _TOGETHER * share
        return _Candidates(found, scores, similarity)

    def chosen_together(self, found: np.ndarray, history: Sequence[int]) -> np.ndarray:
        """Count for each candidate the people who chose it, each by how many of their choices are in the history."""
        shared = Counter(person for item in history for person in self._chosen_by[item])
        weights = Counter[int]()
        for person, count in shared.items():
            for item in self._histories[person]:
                weights[item] += count
        return np.array([float(weights[int(item)]) for item in found])

    def _diverse(self, candidates: _Candidates, count: int, diversity: float) -> list[int]:
        """Choose rows by maximal marginal relevance (Carbonell and Goldstein, 1998): good, and unlike those before."""
        vectors = self._vectors[candidates.items]
        nearest = np.zeros(len(vectors))
        free = np.ones(len(vectors), dtype=bool)
        chosen: list[int] = []
        while free.any() and len(chosen) < count:
            worth = (1 - diversity) * candidates.scores - diversity * nearest
            row = int(np.argmax(np.where(free, worth, -np.inf)))
            chosen.append(row)
            free[row] = False
            nearest = np.maximum(nearest, vectors @ vectors[row])
        return chosen

    def _why(self, candidates: _Candidates, row: int, history: Sequence[int]) -> str:
        """Say which choice speaks most for a candidate."""
        best = int(np.argmax(candidates.similarity[row]))
        cause = self._items[history[-LATEST:][best]].text
        why = f"Because you chose “{_short(cause)}” (similarity {candidates.similarity[row, best]:.2f})"
        return f"{why}; {_times(self.popularity[candidates.items[row]])}."


def _times(people: int) -> str:
    return {0: "nobody has chosen it yet", 1: "one person has chosen it"}.get(people, f"{people} people have chosen it")


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
