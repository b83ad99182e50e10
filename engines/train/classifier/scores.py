"""How good answers are: accuracy, macro-F1, confusion, and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of like confidence: how many, how confident on average, and which share of them is right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Scores:
    """What was measured. All but ``confusion`` are shares from 0 to 1.

    ``accuracy`` counts a text with several labels as right when all of them are. ``ece`` is the expected calibration
    error (Guo et al.: On Calibration of Modern Neural Networks, 2017): by how much confidence and accuracy differ, over
    ten bins. ``confusion`` counts texts by their label (row) and answer (column); empty with several labels.
    """

    accuracy: float
    macro_f1: float
    ece: float
    bins: list[Bin]
    f1: list[float]
    confusion: list[list[int]]


class Measured(NamedTuple):
    """What a model costs and how good it is: a share, a count, megabytes of its graph in float32, and milliseconds.

    The last is the median of texts of the validation data in ONNX Runtime, each alone and at its best of a few tries.
    """

    accuracy: float
    parameters: int
    megabytes: float
    milliseconds: float


class Shrunk(NamedTuple):
    """A model ``before`` and ``after`` it was made smaller, and in words what is ``left`` of it."""

    before: Measured
    after: Measured
    left: str


def score(probabilities: npt.NDArray[Any], truth: npt.NDArray[Any], *, multi_label: bool) -> Scores:
    """Measure probabilities, shape (texts, labels), against the truth: 1 for each label that a text has, else 0."""
    wanted = truth.astype(bool)
    answers = probabilities > 0.5 if multi_label else _likeliest(probabilities)
    if multi_label:
        confidence = np.maximum(probabilities, 1 - probabilities).ravel()
        right = (answers == wanted).ravel()
        confusion: list[list[int]] = []
    else:
        confidence = probabilities.max(axis=1)
        right = (answers & wanted).any(axis=1)
        confusion = (wanted.astype(int).T @ answers.astype(int)).tolist()
    f1 = _f1(answers, wanted)
    bins = _bins(confidence, right)
    return Scores(
        accuracy=float((answers == wanted).all(axis=1).mean()),
        macro_f1=float(np.mean(f1)),
        ece=sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / len(right),
        bins=bins,
        f1=f1,
        confusion=confusion,
    )


def _likeliest(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    answers = np.zeros(probabilities.shape, bool)
    answers[np.arange(len(answers)), probabilities.argmax(axis=1)] = True
    return answers


def _f1(answers: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]) -> list[float]:
    """Give each label's F1; that of a label that neither occurs nor is answered is 1."""
    hits = (answers & wanted).sum(axis=0)
    total = answers.sum(axis=0) + wanted.sum(axis=0)
    f1: list[float] = np.where(total == 0, 1.0, 2 * hits / np.maximum(total, 1)).tolist()
    return f1


def _bins(confidence: npt.NDArray[Any], right: npt.NDArray[np.bool_]) -> list[Bin]:
    numbers = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return [
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (numbers == number for number in range(_BINS))
        if inside.any()
    ]
