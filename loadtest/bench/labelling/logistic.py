"""Logistic regression on vectors by Nesterov's accelerated gradient descent: a classifier trained in a moment."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

_STEPS = 30
_CONSTANT = 0.2
"""The constant input, about as large as the others together vary: a larger one would force smaller steps."""

_PENALTY = 0.05
"""The weight of the squared coefficients beside the sum of all losses (scikit-learn's 1 / C)."""


def fit(vectors: Numbers, classes: Classes, number: int, start: Numbers | None = None) -> Numbers:
    """Give the coefficients, shape (dimensions + 1, ``number`` of classes), beginning from ``start`` or from zeros."""
    inputs = _with_constant(vectors)
    wanted = np.zeros((len(classes), number), np.float32)
    wanted[np.arange(len(classes)), classes] = 1
    penalty = _PENALTY / len(classes)
    # The loss is at most this curved, so that a step of its inverse never overshoots.
    rate = 1 / (0.5 * float(np.linalg.norm(inputs.T @ inputs / len(classes), 2)) + penalty)
    now: Numbers = np.zeros((inputs.shape[1], number), np.float32) if start is None else start
    ahead: Numbers = now
    for step in range(_STEPS):
        gradient = inputs.T @ (probabilities(vectors, ahead) - wanted) / len(classes) + penalty * ahead
        following: Numbers = (ahead - rate * gradient).astype(np.float32, copy=False)
        ahead = (following + step / (step + 3) * (following - now)).astype(np.float32, copy=False)
        now = following
    return now


def probabilities(vectors: Numbers, coefficients: Numbers) -> Numbers:
    """Give the probability of each class."""
    logits = _with_constant(vectors) @ coefficients
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return result


def _with_constant(vectors: Numbers) -> Numbers:
    return np.concatenate([vectors, np.full((len(vectors), 1), _CONSTANT, np.float32)], axis=1)
