"""Makes classifiers through the gateway by OpenAI's SDK, and asks them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx
from openai import APIConnectionError, OpenAI, OpenAIError
from openai.types.fine_tuning import FineTuningJob

from engines.errors import SourceError

DEFAULT_URL = "http://127.0.0.1:8000/v1"

NO_KEY = "unused"
"""An API key for a gateway that wants none; OpenAI's client cannot do without."""

BASE = "minilm"

LONGEST = 4000
"""Characters of a text that are sent: the classifiers read a few hundred tokens, and a request has a limit of bytes."""

BATCH = 64
"""Texts in a request."""

_POLL_SECONDS = 0.5
_TOLD_SECONDS = 5.0
_SILENT_SECONDS = 15.0
_ENDS = {"succeeded", "failed", "cancelled"}


class TuningFailed(Exception):
    """A job ended without a model."""


Examples = Iterable[tuple[str, str]]
"""Texts with their labels."""

FAILURES = (TuningFailed, OpenAIError, SourceError, httpx.HTTPError)
"""What may happen to a program that makes and asks classifiers."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a classifier says of one text: a label, and the probability that it gives to it."""

    label: str
    probability: float


def connect(url: str, key: str = NO_KEY) -> OpenAI:
    """Give a client for a gateway, without a key for one that wants none."""
    return OpenAI(base_url=url, api_key=key)


def bearer(key: str) -> dict[str, str]:
    """Give the header that carries an API key."""
    return {"authorization": f"Bearer {key}"}


def find(client: OpenAI, suffix: str) -> str | None:
    """Return the name of a classifier that was made with this suffix, if there is one."""
    names = (model.id for model in client.models.list())
    return next((name for name in names if name.startswith(f"ft:{BASE}:") and name.split(":")[3:4] == [suffix]), None)


def find_or_make(
    client: OpenAI, suffix: str, examples: Examples, held_back: Examples = (), **hyperparameters: Any
) -> str:
    """Return the name of the classifier with this suffix; without one, make it of texts with their labels.

    Examples that are ``held_back`` validate; without any, the job holds some of the others back. ``hyperparameters``
    are those of docs/finetuning.md, such as ``time_budget``, in seconds. Raises ``TuningFailed``, and
    ``openai.OpenAIError``.
    """
    if name := find(client, suffix):
        print(f"{name} is there already; to make it anew: client.models.delete({name!r})")
        return name
    jobs = client.fine_tuning.jobs.list(metadata={"classifier": suffix})
    unfinished = next((job for job in jobs if job.status not in _ENDS), None)
    return follow(client, unfinished or start(client, suffix, examples, held_back, **hyperparameters))


def start(
    client: OpenAI, suffix: str, examples: Examples, held_back: Examples = (), **hyperparameters: Any
) -> FineTuningJob:
    """Upload examples and start a job that learns from them."""
    held = list(held_back)
    return client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, f"{suffix}.jsonl", examples),
        validation_file=upload(client, f"{suffix}-held-back.jsonl", held) if held else None,
        suffix=suffix,
        metadata={"classifier": suffix},
        method={"type": "supervised", "supervised": {"hyperparameters": cast("Any", hyperparameters)}},
    )


def upload(client: OpenAI, name: str, examples: Examples) -> str:
    """Upload texts with their labels; return the id of the file."""
    lines = [json.dumps({"text": text, "label": label}) for text, label in examples]
    print(f"uploading {len(lines):,} examples as {name}")
    return client.files.create(file=(name, "\n".join(lines).encode()), purpose="fine-tune").id


def follow(client: OpenAI, job: FineTuningJob) -> str:
    """Show what happens in a job until it ends; return the new model's name. Raises ``TuningFailed``."""
    seen: set[str] = set()
    began = told = time.monotonic()
    while True:
        ended = job.status in _ENDS
        for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=100).data):
            new, now = event.id not in seen, time.monotonic()
            seen.add(event.id)
            if new and (event.type != "metrics" or now - told > _TOLD_SECONDS):
                told = now
                print(f"  {event.message}", flush=True)
        if ended:
            break
        if time.monotonic() - told > _SILENT_SECONDS:
            told = time.monotonic()
            print(f"  {job.status}, {told - began:.0f} s so far", flush=True)
        time.sleep(_POLL_SECONDS)
        job = client.fine_tuning.jobs.retrieve(job.id)
    if job.fine_tuned_model is None:
        raise TuningFailed(f"{job.id} {job.status}: {job.error.message if job.error else 'no reason is known'}")
    return job.fine_tuned_model


def classify(http: httpx.Client, url: str, model: str, texts: Sequence[str]) -> list[Verdict]:
    """Ask for the label of each text, in requests of ``BATCH``. Raises ``httpx.HTTPError``.

    ``url`` is that of OpenAI's API, with ``/v1``; ``/classify`` lies beside it. What a classifier would not read of a
    long text is cut.
    """
    address = f"{url.removesuffix('/').removesuffix('/v1')}/classify"
    verdicts = []
    for start in range(0, len(texts), BATCH):
        batch = [text[:LONGEST] for text in texts[start : start + BATCH]]
        answer = http.post(address, json={"model": model, "input": batch, "truncate_prompt_tokens": -1})
        answer.raise_for_status()
        verdicts += [Verdict(each["label"], max(each["probs"])) for each in answer.json()["data"]]
    return verdicts


def explained(error: Exception, url: str) -> str:
    """Say what has failed, and what to do where nothing answers at all."""
    if isinstance(error, (APIConnectionError, httpx.ConnectError)):
        return f"nothing answers at {url}; start a gateway with `make serve`, or name another one with --url"
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error}: {error.response.text[:300]}"
    return str(error)
