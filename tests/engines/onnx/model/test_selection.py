"""Uncertain texts are chosen, and such that are unlike each other."""

from __future__ import annotations

import numpy as np
import pytest

from engines.onnx.model.selection import choose, uncertainty


def numbers(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        # Classes that exclude each other: the margin between the best two.
        ([[0.5, 0.5], [1.0, 0.0], [0.7, 0.3]], [1, 0, 0.6]),
        ([[0.4, 0.4, 0.2], [0.8, 0.1, 0.1]], [1, 0.3]),
        # Labels that hold side by side, and one alone: the label that is nearest to both yes and no.
        ([[0.9, 0.5], [0.9, 0.9], [0.0, 1.0]], [1, 0.2, 0]),
        ([[0.5], [1.0], [0.25]], [1, 0, 0.5]),
    ],
)
def test_uncertain_is_what_is_between_two_classes(probabilities: list[list[float]], expected: list[float]) -> None:
    assert uncertainty(np.array(probabilities, np.float32)).tolist() == pytest.approx(expected, abs=1e-6)


def test_without_weights_the_first_is_in_the_middle_and_each_next_is_farthest() -> None:
    vectors = numbers([1, 0], [0.99, 0.14], [0, 1], [-1, 0], [0.98, 0.2])
    assert choose(vectors, 3)[0] in (1, 2, 4)
    assert choose(vectors, 3)[1] == 3
    assert sorted(choose(vectors, 5)) == [0, 1, 2, 3, 4]


def test_of_texts_that_are_alike_only_one_is_chosen_however_uncertain_they_are() -> None:
    vectors = numbers([1, 0], [1, 0], [1, 0], [0, 1])
    assert choose(vectors, 2, numbers([1, 0.99, 0.98, 0.1])[0]) == [0, 3]


def test_of_texts_that_are_equally_unlike_the_uncertain_ones_come_first() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert choose(vectors, 4, numbers([0.2, 0.9, 0.4, 0.6])[0]) == [1, 3, 2, 0]


def test_only_the_most_uncertain_texts_are_looked_at() -> None:
    vectors = np.eye(100, dtype=np.float32)
    weights = np.linspace(0, 1, 100, dtype=np.float32)
    assert set(choose(vectors, 2, weights)) <= set(range(80, 100))


def test_more_than_there_are_cannot_be_chosen_and_the_same_text_is_not_chosen_twice() -> None:
    assert choose(numbers([1, 0]), 9) == [0]
    assert sorted(choose(numbers([1, 0], [1, 0], [1, 0]), 3, numbers([0, 0, 0])[0])) == [0, 1, 2]
