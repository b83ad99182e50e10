"""The measures are those that one computes by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engines.train.classifier.scores import Bin, score

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1]])
TRUTH = np.eye(3)[[0, 0, 1, 1]]


def test_one_label_each() -> None:
    found = score(PROBABILITIES, TRUTH, multi_label=False)
    assert found.accuracy == 0.75
    assert found.confusion == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert found.f1 == pytest.approx([4 / 5, 2 / 3, 1.0])
    assert found.macro_f1 == pytest.approx((4 / 5 + 2 / 3 + 1) / 3)


def test_calibration_compares_confidence_and_accuracy_in_bins() -> None:
    found = score(PROBABILITIES, TRUTH, multi_label=False)
    assert found.bins == [Bin(1, 0.6, 1.0), Bin(1, 0.7, 1.0), Bin(1, 0.8, 0.0), Bin(1, 0.9, 1.0)]
    assert found.ece == pytest.approx((0.4 + 0.3 + 0.8 + 0.1) / 4)


def test_several_labels_are_right_together() -> None:
    probabilities = np.array([[0.9, 0.2], [0.9, 0.8], [0.1, 0.4]])
    truth = np.array([[1, 0], [1, 0], [0, 0]])
    found = score(probabilities, truth, multi_label=True)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx([1.0, 0.0])
    assert found.confusion == []


def test_certainty_is_in_the_last_bin() -> None:
    assert score(np.array([[1.0, 0.0]]), np.array([[1, 0]]), multi_label=False).bins == [Bin(1, 1.0, 1.0)]
