"""Simulates how a classifier gets better while texts are labelled in rounds, chosen in one way or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.onnx.model.selection import choose, uncertainty
from loadtest.bench.labelling.logistic import Classes, Numbers, fit, probabilities


@dataclass(frozen=True, slots=True)
class Texts:
    """Vectors of texts and their classes, as numbers."""

    vectors: Numbers
    classes: Classes

    def without(self, unwanted: int) -> Texts:
        """Leave out those of one class."""
        return self.taken(np.flatnonzero(self.classes != unwanted))

    def taken(self, numbers: Classes) -> Texts:
        """Give some of them."""
        return Texts(self.vectors[numbers], self.classes[numbers])


@dataclass(frozen=True, slots=True)
class Rounds:
    """How many texts are labelled first, in each round, and in all."""

    first: int
    step: int
    last: int

    @property
    def labels(self) -> list[int]:
        """How many labels there are whenever the classifier is measured."""
        return list(range(self.first, self.last + 1, self.step))


Choose = Callable[[Numbers, Numbers, int, np.random.Generator], Sequence[int]]
"""Chooses so many texts by their vectors and by the probabilities of their classes."""


def _at_random(vectors: Numbers, _probs: Numbers, count: int, draw: np.random.Generator) -> Sequence[int]:
    numbers: list[int] = draw.permutation(len(vectors))[:count].tolist()
    return numbers


def _suggested(vectors: Numbers, probs: Numbers, count: int, _draw: np.random.Generator) -> Sequence[int]:
    return choose(vectors, count, uncertainty(probs))


STRATEGIES: Mapping[str, Choose] = {"random": _at_random, "suggested": _suggested}
"""Texts at random, and what ``/v1/suggest`` chooses."""


def accuracies(pool: Texts, test: Texts, rounds: Rounds, choose_next: Choose, seed: int) -> list[float]:
    """Give the accuracy on ``test`` whenever more texts of ``pool`` are labelled.

    The first texts are drawn at random, the same ones for every strategy.
    """
    number = int(max(pool.classes.max(), test.classes.max())) + 1
    # What all vectors share tells nothing, and gradient descent is quicker without it.
    centre = pool.vectors.mean(axis=0)
    pool, test = Texts(pool.vectors - centre, pool.classes), Texts(test.vectors - centre, test.classes)
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(pool.classes))
    labelled, rest = order[: rounds.first], order[rounds.first :]
    found: list[float] = []
    coefficients: Numbers | None = None
    while True:
        coefficients = fit(pool.vectors[labelled], pool.classes[labelled], number, coefficients)
        predicted = probabilities(test.vectors, coefficients).argmax(axis=1)
        found.append(float((predicted == test.classes).mean()))
        if len(found) == len(rounds.labels):
            return found
        vectors = pool.vectors[rest]
        picked = np.array(choose_next(vectors, probabilities(vectors, coefficients), rounds.step, draw))
        labelled = np.concatenate([labelled, rest[picked]])
        rest = np.delete(rest, picked)


def labels_for(accuracy: float, labels: Sequence[int], found: Sequence[float]) -> float | None:
    """Give the number of labels with which an accuracy is first reached, between two rounds by a straight line."""
    for at, value in enumerate(found):
        if value >= accuracy:
            if at == 0:
                return float(labels[0])
            share = (accuracy - found[at - 1]) / (value - found[at - 1])
            return labels[at - 1] + share * (labels[at] - labels[at - 1])
    return None
