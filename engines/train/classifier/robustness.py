"""Measures how a trained classifier bears validation texts that are changed, in few passes: a job is to end soon."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.robustness import PerturbedTexts, Row
from engines.train.classifier.encoder import Base, Classifier, rows_of
from engines.train.classifier.prepare import Prepared
from engines.train.classifier.probe import Probe

_MOST_TEXTS = 200

_MOST_PASSES = 1000
"""Texts that go through an encoder, over all perturbations and models. A text costs six at most for a model, and half
of that where the tokenizer ignores case."""

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Robustness:
    """The rows of the model, and of the probe where that stands beside it; both of the same ``texts``."""

    texts: int
    rows: list[Row]
    probe: list[Row] | None = None


def measure(
    model: Classifier, probe: Classifier | None, base: Base, data: Prepared, logits: Any, seed: int
) -> Robustness:
    """Measure models on validation texts drawn at random, of which the model's ``logits`` are known.

    ``logits`` has the shape (validation texts, labels). With several labels an answer is right if all of them are.
    """
    numbers = _drawn(base, data, seed, models=1 if probe is None else 2)
    examples = [data.validation[number] for number in numbers]
    perturbed = PerturbedTexts([example.text for example in examples], seed)
    tokens = _tokens(base, [*(example.text for example in examples), *perturbed.texts])
    wanted = [frozenset(example.labels) for example in examples]

    def rows(classifier: Classifier, known: Mapping[Tokens, Any]) -> list[Row]:
        answers = _answers(_logits(classifier, tokens, known), data)
        return perturbed.rows(wanted, answers[: len(examples)], answers[len(examples) :])

    known = {tokens[at]: logits[number] for at, number in enumerate(numbers)}
    return Robustness(len(examples), rows(model, known), None if probe is None else rows(probe, {}))


def frozen(weights: Path, probe: Probe) -> Classifier:
    """Put a probe on the encoder that it was fitted to, as it was before any fine-tuning."""
    base = Base(weights)
    model = Classifier(base.model, base.width, len(probe.bias), cls=base.cls)
    probe.put_into(model.head)
    model.eval()
    return model


def _drawn(base: Base, data: Prepared, seed: int, *, models: int) -> list[int]:
    """Draw the numbers of as many validation texts as the passes allow."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible choice, nothing secret
    numbers = chance.sample(range(len(data.validation)), min(len(data.validation), _MOST_TEXTS))
    passes = 0
    for count, number in enumerate(numbers):
        text = data.validation[number].text
        # The first model's answer to the text as written is known.
        passes += models * len(set(_tokens(base, [text, *PerturbedTexts([text], seed).texts]))) - 1
        if passes > _MOST_PASSES:
            return numbers[:count]
    return numbers


def _tokens(base: Base, texts: Sequence[str]) -> list[Tokens]:
    return [tuple(ids) for ids in base.tokens(texts)]


def _logits(model: Classifier, texts: Sequence[Tokens], known: Mapping[Tokens, Any]) -> list[Any]:
    """Compute the logits of texts; those of the same tokens once, and none that are known."""
    missing = [each for each in dict.fromkeys(texts) if each not in known]
    computed = dict(zip(missing, rows_of(model, missing, exact=True), strict=True)) if missing else {}
    found = {**known, **computed}
    return [found[each] for each in texts]


def _answers(logits: Sequence[Any], data: Prepared) -> list[frozenset[str]]:
    """Give the labels of each text: those that are likelier than not, or the likeliest one."""
    if data.multi_label:
        return [
            frozenset(label for label, value in zip(data.labels, row.tolist(), strict=True) if value > 0)
            for row in logits
        ]
    return [frozenset((data.labels[int(row.argmax())],)) for row in logits]
