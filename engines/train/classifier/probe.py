"""Logistic regression on frozen vectors: a classifier in seconds, and where the fine-tuning's head begins.

To begin with the head that fits the frozen encoder keeps the first steps from tearing its features apart (Kumar et
al.: Fine-Tuning can Distort Pretrained Features, 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

_PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5)
"""From the strongest to the weakest; each begins where the one before has ended."""

_ITERATIONS = 60


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear head: weights, shape (classes, width), and bias, with the penalty that did best."""

    weight: Any
    bias: Any
    penalty: float

    def put_into(self, head: Any) -> None:
        """Let a linear layer of that shape be this head."""
        with torch.no_grad():
            head.weight.copy_(self.weight)
            head.bias.copy_(self.bias)


def fit(vectors: Any, truth: Any, weights: Sequence[float], validation: tuple[Any, Any], *, multi_label: bool) -> Probe:
    """Fit heads with each penalty and give the one with the least loss on the validation data.

    ``truth`` has a 1 for each label of a text. All vectors are scaled by one number: a scale for each dimension would
    make infinite weights of one that never varies.
    """
    scale = 1 / vectors.std().clamp_min(1e-6)
    head = torch.nn.Linear(vectors.shape[1], truth.shape[1])
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    best, least = None, float("inf")
    for penalty in _PENALTIES:
        _minimise(head, vectors * scale, truth, weights, penalty, multi_label=multi_label)
        with torch.no_grad():
            reached = float(loss_of(head(validation[0] * scale), validation[1], weights, multi_label=multi_label))
            if best is None or reached < least:
                best = Probe((head.weight * scale).clone(), head.bias.detach().clone(), penalty)
                least = reached
    assert best is not None
    return best


def loss_of(logits: Any, truth: Any, weights: Sequence[float], *, multi_label: bool) -> Any:
    """Compute the mean cross-entropy, with the labels' weights; with several labels that of each for itself."""
    functional = torch.nn.functional
    if multi_label:
        return functional.binary_cross_entropy_with_logits(logits, truth) * truth.shape[1]
    each = functional.cross_entropy(logits, truth, reduction="none")
    return (each * (truth @ torch.tensor(list(weights), dtype=truth.dtype))).mean()


def _minimise(
    head: Any, vectors: Any, truth: Any, weights: Sequence[float], penalty: float, *, multi_label: bool
) -> None:
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_of(head(vectors), truth, weights, multi_label=multi_label)
        loss = loss + penalty * head.weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
