"""Logistic regression on frozen vectors: a classifier in seconds, and where the fine-tuning's head begins.

To begin with the head that fits the frozen encoder keeps the first steps from tearing its features apart (Kumar et
al.: Fine-Tuning can Distort Pretrained Features, 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from engines.train.classifier.encoder import Portion

_PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""From the strongest to the weakest; each begins where the one before has ended. Two classes and a few hundred examples
need the strongest ones."""

_ITERATIONS = 60
_TOLERANCE = 1e-5
"""A step that changes the loss by less is the last one."""

_LEAST_GAIN = 0.1
"""More examples are worth their time if twice as many lower the loss on the validation data by such a share of it. They
do so by 0.16 and more up to the 8,192 examples that Banking77's 77 classes have, and by 0.06 at most with the two
classes of film reviews."""


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


class Seen(NamedTuple):
    """The examples that a probe was fitted to, by number; ``enough`` says that twice as many have gained too little."""

    numbers: list[int]
    seconds: float
    enough: bool


def fit_growing(
    portions: Iterable[Portion],
    truth: Any,
    weights: Sequence[float],
    validation: tuple[Any, Any],
    *,
    multi_label: bool,
) -> tuple[Probe, Seen]:
    """Fit a head to more and more examples, as long as twice as many lower the loss on the validation data enough.

    Each of the ``portions``, one at least, holds the vectors of the one before; ``truth`` has a row for each example.
    """
    probe, loss, count = None, float("inf"), 0
    for vectors, numbers, seconds in portions:
        probe = fit(vectors, truth[numbers], weights, validation, multi_label=multi_label, begin=probe)
        before, doubled = loss, len(numbers) >= 2 * count
        logits = validation[0] @ probe.weight.T + probe.bias
        loss = float(loss_of(logits, validation[1], weights, multi_label=multi_label))
        count = len(numbers)
        seen = Seen(numbers, seconds, enough=doubled and loss > (1 - _LEAST_GAIN) * before)
        if seen.enough:
            break
    assert probe is not None
    return probe, seen


def fit(
    vectors: Any,
    truth: Any,
    weights: Sequence[float],
    validation: tuple[Any, Any],
    *,
    multi_label: bool,
    begin: Probe | None = None,
) -> Probe:
    """Fit heads with weaker and weaker penalties, and give the last one before the loss on the validation data rises.

    ``truth`` has a 1 for each label of a text. To ``begin`` with the probe of fewer examples is quicker: more of them
    need no stronger penalty. All vectors are scaled by one number: a scale for each dimension would make infinite
    weights of one that never varies.
    """
    scale = 1 / vectors.std().clamp_min(1e-6)
    head = torch.nn.Linear(vectors.shape[1], truth.shape[1])
    start = begin or Probe(torch.zeros_like(head.weight), torch.zeros_like(head.bias), _PENALTIES[0])
    Probe(start.weight / scale, start.bias, start.penalty).put_into(head)
    best, least = start, float("inf")
    for penalty in _PENALTIES[_PENALTIES.index(start.penalty) :]:
        _minimise(head, vectors * scale, truth, weights, penalty, multi_label=multi_label)
        with torch.no_grad():
            reached = float(loss_of(head(validation[0] * scale), validation[1], weights, multi_label=multi_label))
        if reached >= least:
            break
        best = Probe((head.weight.detach() * scale).clone(), head.bias.detach().clone(), penalty)
        least = reached
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
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=_ITERATIONS, tolerance_change=_TOLERANCE, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_of(head(vectors), truth, weights, multi_label=multi_label)
        loss = loss + penalty * head.weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
