"""Logistic regression finds what separates classes."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.bench.labelling.logistic import fit, probabilities


def test_classes_that_can_be_separated_are_told_apart() -> None:
    draw = np.random.default_rng(0)
    centres = np.eye(3, 8, dtype=np.float32)
    classes = draw.integers(0, 3, 200)
    vectors = (centres[classes] + draw.normal(0, 0.1, (200, 8))).astype(np.float32)
    found = probabilities(vectors, fit(vectors, classes, 3))
    assert found.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    assert (found.argmax(axis=1) == classes).all()


def test_a_class_without_examples_is_the_least_probable() -> None:
    vectors = np.eye(2, dtype=np.float32)
    found = probabilities(vectors, fit(vectors, np.array([0, 1]), 3))
    assert found.argmin(axis=1).tolist() == [2, 2]
