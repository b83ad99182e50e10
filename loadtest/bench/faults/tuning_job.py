"""A small fine-tuning job of the default embedder, for figures that are taken while it trains."""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from loadtest.bench.launch import ROOT
from loadtest.http_client import HttpClient, HttpError, Response

BASE = "minilm"
JOBS = "/v1/fine_tuning/jobs"

_TEXTS: Mapping[str, Sequence[str]] = {
    "card": ("my card is {}", "the card that I {} last week", "please {} my card", "a new card, I {} the old one"),
    "transfer": ("a transfer to {}", "send money to {}", "the payment to {} is late", "{} has not got my money"),
    "cash": ("the machine in {} kept my cash", "cash from abroad in {}", "no notes came out in {}", "{} has no cash"),
}
_WORDS = ("Leeds", "lost", "a friend", "blocked", "Spain", "stolen", "my landlord", "broken", "the shop", "Ghent")
EXAMPLES = b"".join(
    msgspec.json.encode({"text": pattern.format(word), "label": label}) + b"\n"
    for label, patterns in _TEXTS.items()
    for pattern in patterns
    for word in _WORDS
)

_FORM = (
    b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="examples.jsonl"\r\n\r\n%b\r\n--x--\r\n'
)


def configuration(folder: Path, *models: str) -> str:
    """Write a configuration of these models of ``models.toml``, which stand last in it, with all files in a folder."""
    text = (ROOT / "models.toml").read_text()
    written = text[min(text.index(f"[models.{name}]") for name in models) :]
    assert sorted(tomllib.loads(written)["models"]) == sorted(models)
    kept = f'[gateway.files]\nfolder = "{folder}/files"\n[gateway.tuning]\nfolder = "{folder}/tuning"\n'
    return f'[gateway]\naccess_log = "off"\n{kept}{written}'


async def order(client: HttpClient, *, time_budget: float, **hyperparameters: Any) -> dict[str, Any]:
    """Upload the examples and order a job of the method ``full``, without int8; return it. Raises ``HttpError``."""
    uploaded = await json_of(client.post("/v1/files", _FORM % EXAMPLES, "multipart/form-data; boundary=x"))
    chosen = {"method": "full", "time_budget": time_budget, "quantize": False, **hyperparameters}
    method = {"type": "supervised", "supervised": {"hyperparameters": chosen}}
    asked = {"model": BASE, "training_file": uploaded["id"], "method": method}
    job: dict[str, Any] = await json_of(client.post(JOBS, msgspec.json.encode(asked)))
    return job


async def json_of(asking: Awaitable[Response]) -> Any:
    """Await a response and decode its body. Raises ``HttpError`` for any status but 200."""
    response = await asking
    if response.status != 200:
        raise HttpError(f"status {response.status}: {response.text[:200]}")
    return msgspec.json.decode(response.body)
