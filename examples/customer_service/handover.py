"""When a question is handed over to a person, and where those limits are from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from examples.classifiers import Verdict
from examples.customer_service.knowledge_base import Found

RIGHT_ANSWERS = 0.97
"""The share of the answered questions whose intent must be right on validation data."""

_NEARER = 0.99
"""The share of validation questions whose passage is near enough: they are all about what the passages are about."""


class Limits(NamedTuple):
    """The least probability of an intent, and the least similarity of a passage, with which a question is answered."""

    probability: float
    similarity: float


def choose_limits(verdicts: Sequence[Verdict], intents: Sequence[str], similarities: Sequence[float]) -> Limits:
    """Choose limits with validation questions: what was said of them, what they wanted, how near their passage was.

    As many as possible are answered whose intents are right as often as ``RIGHT_ANSWERS`` says (selective
    classification; Geifman and El-Yaniv, 2017). Where no limit achieves that, only certainty is enough.
    """
    ranked = sorted(zip(verdicts, intents, strict=True), key=lambda pair: -pair[0].probability)
    probability, right = 1.0, 0
    for answered, (verdict, intent) in enumerate(ranked, 1):
        right += verdict.label == intent
        if right >= RIGHT_ANSWERS * answered:
            probability = verdict.probability
    farthest = sorted(similarities)[int(len(similarities) * (1 - _NEARER))]
    return Limits(probability, farthest)


def reason_to_hand_over(verdict: Verdict, best: Found, limits: Limits) -> str | None:
    """Say why a person must answer; ``None`` where the best passage does."""
    if verdict.probability < limits.probability:
        return (
            f"I am not sure what you want: my best guess, {verdict.label}, has a probability of "
            f"{verdict.probability:.0%}, and I want {limits.probability:.0%}."
        )
    if best.similarity < limits.similarity:
        return (
            f"I have found nothing about it: the nearest help page, “{best.passage.title}”, has a similarity of "
            f"{best.similarity:.2f}, and I want {limits.similarity:.2f}."
        )
    return None
