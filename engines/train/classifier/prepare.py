"""Prepares examples: each text once, a share held back to validate with, and weights for classes that are rare."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from engines.train.examples import Example, TextData

_HELD_BACK = 0.1
_MOST_HELD_BACK = 2000
_BALANCED_FROM = 4.0
"""Classes are weighted when the largest has so many times the examples of the smallest."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is trained and what is validated with.

    ``weights`` are those of the labels in the loss, in the order of ``labels``, and 1 on average over the examples.
    ``notes`` say what was changed, for the people whose data it is.
    """

    training: list[Example]
    validation: list[Example]
    labels: list[str]
    multi_label: bool
    weights: list[float]
    notes: list[str]


def prepare(data: TextData, seed: int) -> Prepared:
    """Prepare the examples of a job; the same for the same seed."""
    notes: list[str] = []
    training, repeated, contradictory = _once(data.training)
    if repeated:
        notes.append(f"{repeated} examples have a text that came before; each text is trained once.")
    if contradictory:
        notes.append(f"{contradictory} texts have different labels in different lines; the most frequent is taken.")
    validation, _, _ = _once(data.validation)
    known = {example.text for example in training}
    unseen = [example for example in validation if example.text not in known]
    if len(unseen) < len(validation):
        notes.append(
            f"{len(validation) - len(unseen)} texts of the validation file are trained on too, and do not count."
        )
    if not unseen:
        training, unseen = split(training, seed)
        notes.append(f"{len(unseen)} examples are held back to validate with.")
    weights = [1.0] * len(data.labels) if data.multi_label else _weights(training, data.labels)
    if max(weights) > min(weights):
        notes.append("The classes are of very different sizes; the rare ones weigh more in the loss.")
    return Prepared(training, unseen, data.labels, data.multi_label, weights, notes)


def split(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Hold back a tenth of each class, at least one example of it, and at most about 2,000 in all."""
    chance = random.Random(seed)  # noqa: S311 - nothing is secret
    share = min(_HELD_BACK, _MOST_HELD_BACK / len(examples))
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, example in enumerate(examples):
        groups.setdefault(example.labels, []).append(at)
    held: set[int] = set()
    for group in groups.values():
        if len(group) > 1:
            held.update(chance.sample(group, max(1, round(len(group) * share))))
    if not held:
        held.update(chance.sample(range(len(examples)), max(1, round(len(examples) * share))))
    return (
        [example for at, example in enumerate(examples) if at not in held],
        [example for at, example in enumerate(examples) if at in held],
    )


def _once(examples: Sequence[Example]) -> tuple[list[Example], int, int]:
    """Give each text once, how many examples that leaves out, and how many texts had several labels."""
    found: dict[str, Counter[tuple[str, ...]]] = {}
    for example in examples:
        found.setdefault(example.text, Counter())[tuple(sorted(example.labels))] += 1
    kept = [Example(text, labels.most_common(1)[0][0]) for text, labels in found.items()]
    return kept, len(examples) - len(kept), sum(len(labels) > 1 for labels in found.values())


def _weights(examples: Sequence[Example], labels: Sequence[str]) -> list[float]:
    """Weigh classes by the inverse root of their sizes, where these differ much."""
    counts = Counter(example.labels[0] for example in examples)
    sizes = [max(1, counts[label]) for label in labels]
    if max(sizes) < _BALANCED_FROM * min(sizes):
        return [1.0] * len(labels)
    raw: list[float] = [size**-0.5 for size in sizes]
    mean = sum(weight * size for weight, size in zip(raw, sizes, strict=True)) / sum(sizes)
    return [weight / mean for weight in raw]
