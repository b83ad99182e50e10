"""Which texts to label next: those that a classifier is unsure of, and that are unlike each other.

Greedy k-center choice (Sener, Savarese: "Active learning for convolutional neural networks: a core-set approach", ICLR
2018) picks again and again the text that is farthest from all that were picked before. Alone it is drawn to outliers; a
classifier's uncertainty alone asks for the same question many times. So the distance is weighed by the uncertainty, and
only the most uncertain texts are looked at, as many times the wanted number as ``_CANDIDATES`` says (the two steps of
Citovsky et al.: "Batch active learning at scale", NeurIPS 2021).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.onnx.model.tasks import Rows

Numbers = npt.NDArray[np.float32]

_ROUNDING = 0.01

_CANDIDATES = 10
"""So many times as many texts as are wanted, the most uncertain ones, are looked at for being unlike."""


def uncertainty(probabilities: Rows) -> Numbers:
    """Give how uncertain each text's class is, from 0 to 1.

    Of classes that exclude each other, whose probabilities add up to 1, that is 1 less the margin between the two most
    probable ones (Scheffer, Decomain, Wrobel: "Active hidden Markov models for information extraction", 2001). Where
    labels hold side by side it is the same of the label that is nearest to both yes and no.
    """
    exclusive = probabilities.shape[1] > 1 and np.allclose(probabilities.sum(axis=1), 1, atol=_ROUNDING)
    if exclusive:
        ordered = np.partition(probabilities, -2, axis=1)
        margins = ordered[:, -1] - ordered[:, -2]
    else:
        margins = np.abs(2 * probabilities - 1).min(axis=1)
    result: Numbers = 1 - margins
    return result


def choose(vectors: Rows, count: int, weights: Numbers | None = None) -> list[int]:
    """Give the numbers of at most ``count`` texts, the most worth labelling first.

    ``vectors`` are those of the texts, shape (texts, dimensions); ``weights`` say how uncertain each is. Without any,
    only how unlike they are counts, beginning with the text nearest to the mean of all.
    """
    if weights is None:
        candidates = np.arange(len(vectors))
        weights = np.ones(len(vectors), np.float32)
        first = int((vectors @ vectors.mean(axis=0)).argmax())
    else:
        candidates = np.argsort(-weights, kind="stable")[: count * _CANDIDATES]
        first = 0
    vectors, weights = vectors[candidates], weights[candidates]
    squares = (vectors * vectors).sum(axis=1)
    nearest = np.full(len(candidates), np.inf, np.float32)
    picked: list[int] = []
    next_one = first
    while len(picked) < min(count, len(candidates)):
        picked.append(next_one)
        distances = squares + squares[next_one] - 2 * (vectors @ vectors[next_one])
        nearest = np.minimum(nearest, np.maximum(distances, 0))
        worth = nearest * weights
        worth[picked] = -1
        next_one = int(worth.argmax())
    return [int(candidates[at]) for at in picked]
