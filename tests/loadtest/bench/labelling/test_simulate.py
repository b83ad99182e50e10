"""Each strategy begins with the same labels, and none is measured with what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from loadtest.bench.labelling.logistic import Numbers
from loadtest.bench.labelling.simulate import STRATEGIES, Rounds, Texts, accuracies, labels_for


def made(count: int, seed: int, rare: float = 0.1) -> Texts:
    """Make texts of four classes, of which two are rare."""
    draw = np.random.default_rng(seed)
    classes = draw.choice(4, count, p=[0.5 - rare, 0.5 - rare, rare, rare])
    vectors = np.eye(4, 6, dtype=np.float32)[classes] + draw.normal(0, 0.35, (count, 6))
    return Texts(vectors.astype(np.float32), classes.astype(np.int64))


def test_suggested_texts_teach_more_than_random_ones() -> None:
    pool, test, rounds = made(600, 1, 0.03), made(600, 2, 0.25), Rounds(8, 8, 64)
    means = {
        name: np.mean([accuracies(pool, test, rounds, choose, seed) for seed in range(4)], axis=0)
        for name, choose in STRATEGIES.items()
    }
    assert means["random"][0] == means["suggested"][0]
    assert means["suggested"][-1] > means["random"][-1] + 0.03


def test_a_text_is_labelled_once_and_each_round_has_its_size() -> None:
    seen: list[Numbers] = []

    def first_ones(vectors: Numbers, probs: Numbers, count: int, _draw: np.random.Generator) -> Sequence[int]:
        assert len(vectors) == len(probs)
        seen.append(vectors[:count])
        return range(count)

    found = accuracies(made(50, 1), made(20, 2), Rounds(5, 10, 35), first_ones, 0)
    assert len(found) == 4
    chosen = np.concatenate(seen)
    assert len(chosen) == len(np.unique(chosen, axis=0)) == 30


def test_labels_are_counted_at_each_measurement() -> None:
    assert Rounds(5, 10, 35).labels == [5, 15, 25, 35]


@pytest.mark.parametrize(("accuracy", "labels"), [(0.1, 100), (0.5, 100), (0.6, 150), (0.7, 200), (0.8, None)])
def test_the_labels_for_an_accuracy_are_read_off_the_curve(accuracy: float, labels: float | None) -> None:
    assert labels_for(accuracy, [100, 200, 300], [0.5, 0.7, 0.6]) == (None if labels is None else pytest.approx(labels))
