"""Limits are chosen so that what is answered is right often enough, and a person gets the rest."""

from __future__ import annotations

import pytest

from examples.classifiers import Verdict
from examples.customer_service.handover import Limits, choose_limits, reason_to_hand_over
from examples.customer_service.knowledge_base import Found, Passage

FEES = Passage("Fees", "Transfers cost nothing.")


def verdicts(*probabilities: float) -> list[Verdict]:
    return [Verdict("fees", probability) for probability in probabilities]


def test_as_many_are_answered_as_may_be() -> None:
    said = verdicts(*(number / 200 for number in range(200, 0, -1)))
    wanted = ["fees"] * 100 + ["other"] * 100
    limits = choose_limits(said, wanted, [0.5])
    answered = [pair for pair in zip(said, wanted, strict=True) if pair[0].probability >= limits.probability]
    assert len(answered) == 103  # three of them wrong
    assert sum(intent == "fees" for _, intent in answered) / len(answered) >= 0.97


def test_an_early_mistake_does_not_hand_over_all_others() -> None:
    said = verdicts(0.99, *[0.9] * 99)
    assert choose_limits(said, ["other"] + ["fees"] * 99, [0.5]).probability == pytest.approx(0.9)


def test_a_classifier_that_is_never_right_answers_nothing_that_is_not_certain() -> None:
    assert choose_limits(verdicts(0.9, 0.8), ["other", "other"], [0.5]).probability == 1.0


def test_nearly_all_validation_questions_are_near_enough() -> None:
    similarities = [number / 1000 for number in range(1000)]
    assert choose_limits(verdicts(0.9), ["fees"], similarities).similarity == pytest.approx(0.010)


@pytest.mark.parametrize(
    ("probability", "similarity", "reason"),
    [
        (0.8, 0.5, None),
        (0.6, 0.3, None),
        (0.59, 0.5, "my best guess, fees, has a probability of 59%, and I want 60%"),
        (0.8, 0.29, "the nearest help page, “Fees”, has a similarity of 0.29, and I want 0.30"),
    ],
)
def test_a_person_answers_what_is_unsure(probability: float, similarity: float, reason: str | None) -> None:
    found = reason_to_hand_over(Verdict("fees", probability), Found(FEES, similarity), Limits(0.6, 0.3))
    assert found is None if reason is None else found is not None and reason in found
