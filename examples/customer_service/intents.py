"""What a customer wants: a classifier that is fine-tuned on Banking77 through the gateway, and asked there."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from examples.customer_service.progress import with_progress

BASE, SUFFIX = "minilm", "banking77"

_DATA = Path(__file__).parent.parent / "data"
TRAIN, TEST = _DATA / "banking77_train.csv", _DATA / "banking77_test.csv"

_HELD_BACK = 10
"""One question in so many of each intent validates: it is not trained on, and limits are chosen with it."""

_AT_ONCE = 64
_LONGEST = 2000
"""Characters of a text that are sent; the classifier reads 128 tokens."""

_POLL_SECONDS, _TOLD_SECONDS = 1.0, 5.0
_ENDS = ("succeeded", "failed", "cancelled")


class Question(NamedTuple):
    """What a customer asked, and what they wanted."""

    text: str
    intent: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The likeliest intent of a question, and its probability."""

    intent: str
    probability: float


class TuningFailed(Exception):
    """A job ended without a model."""


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

    Raises ``TuningFailed``, and ``openai.OpenAIError``.
    """
    for model in client.models.list():
        if model.id.startswith(f"ft:{BASE}:") and model.id.split(":")[3] == SUFFIX:
            print(f"The classifier is there already: {model.id}")
            return model.id
    for job in client.fine_tuning.jobs.list():
        if job.status not in _ENDS and (job.metadata or {}).get("example") == SUFFIX:
            return _follow(client, job)
    return _follow(client, _start(client, questions, time_budget))


def classify(url: str, model: str, texts: Sequence[str]) -> list[Verdict]:
    """Ask for the intent of each text; ``url`` is that of OpenAI's API, with ``/v1``. Raises ``httpx.HTTPError``."""
    batches = [texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE)]
    with httpx.Client(timeout=60) as http:
        address = f"{url.rstrip('/').removesuffix('/v1')}/classify"
        return [
            verdict
            for batch in with_progress(batches, f"classifying {len(texts):,} questions")
            for verdict in _ask(http, address, model, batch)
        ]


def _ask(http: httpx.Client, address: str, model: str, texts: Sequence[str]) -> Iterator[Verdict]:
    body = {"model": model, "input": [text[:_LONGEST] for text in texts], "truncate_prompt_tokens": -1}
    answer = http.post(address, json=body)
    answer.raise_for_status()
    for each in answer.json()["data"]:
        yield Verdict(each["label"], max(each["probs"]))


def _start(client: OpenAI, questions: Sequence[Question], time_budget: float) -> FineTuningJob:
    """Upload what is trained on and what is held back, and start a job."""
    print(f"Fine-tuning {BASE} on {len(questions):,} questions, for {time_budget:.0f} seconds at most")
    files = [
        client.files.create(file=(f"{SUFFIX}-{name}.jsonl", _lines(part)), purpose="fine-tune")
        for name, part in zip(("train", "held-back"), split(questions), strict=True)
    ]
    # These are the gateway's own. A classifier in int8 would be faster, but takes longer to make than to train.
    hyperparameters: Any = {"method": "probe", "time_budget": time_budget, "quantize": False}
    return client.fine_tuning.jobs.create(
        model=BASE,
        training_file=files[0].id,
        validation_file=files[1].id,
        suffix=SUFFIX,
        metadata={"example": SUFFIX},
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    )


def _lines(questions: Sequence[Question]) -> bytes:
    return "".join(json.dumps({"text": text, "label": intent}) + "\n" for text, intent in questions).encode()


def _follow(client: OpenAI, job: FineTuningJob) -> str:
    """Tell how far a job is until it ends, and return the new model's name. Raises ``TuningFailed``."""
    told = 0.0
    while job.status not in _ENDS:
        if time.monotonic() - told >= _TOLD_SECONDS:
            told = time.monotonic()
            print(f"  {job.id}: {_progress(job)}", flush=True)
        time.sleep(_POLL_SECONDS)
        job = client.fine_tuning.jobs.retrieve(job.id)
    if job.fine_tuned_model is None:
        raise TuningFailed(f"{job.id} {job.status}: {job.error.message if job.error else 'no reason is known'}")
    print(f"  {job.id}: succeeded, {job.fine_tuned_model}")
    return job.fine_tuned_model


def _progress(job: FineTuningJob) -> str:
    """Say what a job does; the phase and its share are fields that OpenAI's jobs do not have."""
    progress: Any = (job.model_extra or {}).get("progress")
    return f"{progress['phase']}, {progress['share']:.0%}" if progress else job.status
