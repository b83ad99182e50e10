"""What a customer wants: a classifier that is fine-tuned on Banking77 through the gateway, and asked there."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
from openai import OpenAI

from examples import classifiers
from examples.classifiers import BATCH, Verdict
from examples.progress import with_progress

SUFFIX = "banking77"

_DATA = Path(__file__).parent.parent / "data"
TRAIN, TEST = _DATA / "banking77_train.csv", _DATA / "banking77_test.csv"

_HELD_BACK = 10
"""One question in so many of each intent validates: it is not trained on, and limits are chosen with it."""

_TIMEOUT_SECONDS = 60.0


class Question(NamedTuple):
    """What a customer asked, and what they wanted."""

    text: str
    intent: str


def read_questions(file: Path) -> list[Question]:
    """Read Banking77: CSV with the columns ``text`` and ``category``."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [Question(row["text"].strip(), row["category"]) for row in csv.DictReader(lines)]


def split(questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """Hold back every tenth question of each intent; return what is trained on and what is held back."""
    seen: Counter[str] = Counter()
    trained: list[Question] = []
    held: list[Question] = []
    for question in questions:
        seen[question.intent] += 1
        (held if seen[question.intent] % _HELD_BACK == 0 else trained).append(question)
    return trained, held


def find_or_make(client: OpenAI, questions: Sequence[Question], time_budget: float) -> str:
    """Return the name of the classifier; where there is none yet, make it of questions in ``time_budget`` seconds.

    A regression on vectors is enough here, and a classifier in int8 takes longer to make than to train. Raises
    ``TuningFailed``, and ``openai.OpenAIError``.
    """
    trained, held = split(questions)
    return classifiers.find_or_make(
        client, SUFFIX, trained, held, method="probe", quantize=False, time_budget=time_budget
    )


def classify(url: str, key: str, model: str, texts: Sequence[str]) -> list[Verdict]:
    """Ask for the intent of each text; ``url`` is that of OpenAI's API, with ``/v1``. Raises ``httpx.HTTPError``."""
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    with httpx.Client(timeout=_TIMEOUT_SECONDS, headers=classifiers.bearer(key)) as http:
        return [
            verdict
            for batch in with_progress(batches, f"classifying {len(texts):,} questions")
            for verdict in classifiers.classify(http, url, model, batch)
        ]
