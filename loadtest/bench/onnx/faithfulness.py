"""Whether explanations are true of the model: the words of the greatest weight, left out, should change its mind.

The share of answers that change is compared with that for as many words drawn at random: the erasure test of DeYoung et
al., "ERASER: A benchmark to evaluate rationalized NLP models" (ACL 2020), with the prediction in the place of its
probability.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from math import ceil

import numpy as np

from engines.onnx.model.occlusion import Word, groups, without, words
from engines.onnx.model.tasks import Rows
from engines.onnx.model.tokens import PlacedIds, TokenIds
from engines.onnx.protocol.requests import ClassifyRequest
from loadtest.bench.onnx.subject import Subject

_SHARE = 0.2
"""The part of a text's words that is left out."""

_FEWEST = 5
"""Texts of fewer words have no fifth."""

_MOST_TEXTS = 500
_MOST_WORDS = 64
_SEED = 7


async def measure(subject: Subject) -> None:
    """Leave out a fifth of the words of each text, by weight and at random, and count the answers that change."""
    if subject.task != "classify":
        print("only a classifier explains its classes")
        return
    draw = random.Random(_SEED)  # noqa: S311 - a reproducible choice, nothing secret
    texts = draw.sample(subject.texts, min(_MOST_TEXTS, len(subject.texts)))
    by_weight: Counter[str] = Counter()
    by_chance: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    placed = subject.model.tokenizer.encode_places(
        ClassifyRequest(input=[*texts], truncate_prompt_tokens=-1), "explain"
    )
    for text, ids in zip(texts, placed, strict=True):
        parts = groups(words(text, ids), _MOST_WORDS)
        if len(parts) < _FEWEST:
            continue
        values = _probabilities(subject, [ids, *(without(ids, part) for part in parts)])
        best = int(values[0].argmax())
        losses = values[0, best] - values[1:, best]
        count = ceil(_SHARE * len(parts))
        weightiest = [parts[at] for at in np.argsort(-losses, kind="stable")[:count]]
        chosen = _probabilities(subject, [_left(ids, weightiest), _left(ids, draw.sample(parts, count))])
        label = subject.labels[best]
        asked[label] += 1
        by_weight[label] += int(chosen[0].argmax()) != best
        by_chance[label] += int(chosen[1].argmax()) != best
    if not asked:
        print(f"no text has {_FEWEST} words")
        return
    for name, counts in ((None, asked), *((label, asked) for label in sorted(asked))):
        texts_of = counts.total() if name is None else counts[name]
        flips = [each.total() if name is None else each[name] for each in (by_weight, by_chance)]
        print(
            f"{name or 'all texts':<20}{texts_of:6d} texts: without a fifth of the words {flips[0] / texts_of:6.1%} "
            f"change their class, {flips[1] / texts_of:6.1%} with words drawn at random"
        )


def _left(ids: PlacedIds, parts: Sequence[Word]) -> list[int]:
    rest = parts[0]
    for part in parts[1:]:
        rest = rest.joined(part)
    return without(ids, rest)


def _probabilities(subject: Subject, texts: Sequence[TokenIds]) -> Rows:
    return np.stack(list(subject.model.task.pooled(list(subject.model.compute(texts)), activate=True)))
