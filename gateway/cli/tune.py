"""``headgate tune``: makes a fine-tuning job, and shows how it goes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from gateway.cli.api_client import KEY, URL, ApiClient, ApiError
from gateway.cli.command import FAILED, Commands, add_command

_LOOK_SECONDS = 1.0
"""How often the job is looked at."""

_PATIENCE = 60.0
"""Seconds for which a gateway that does not answer is asked again: it may be started anew, and its jobs go on."""

_ENDED = ("succeeded", "failed", "cancelled")

_METHODS = ("auto", "probe", "full", "top_layers", "lora")

_EPILOG = f"""\
FILE has an example on each line, as JSON: {{"text": "…", "label": "…"}}, or a chat for a model that generates.
A key, where the gateway wants one, is taken from {KEY}.

With Ctrl-C the display ends, and the job goes on; see 'headgate jobs'.

exit code: 0 when the model is served, else 1

examples:
  headgate tune minilm --data reviews.jsonl --suffix reviews
  headgate tune minilm --data train.jsonl --validation dev.jsonl --method probe --time-budget 60
  headgate tune minilm --data reviews.jsonl --augment --no-quantize
  headgate tune minilm --data reviews.jsonl --prune 3 --prune-heads 0.33
  headgate tune minilm --data reviews.jsonl --distill 3 --temperature 4
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "tune",
        _run,
        summary="fine-tune a model of a running gateway on examples",
        description="Upload examples, make a fine-tuning job of them, and show loss, accuracy and the time left.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="the model to start from")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help="the examples to train on")
    parser.add_argument("--validation", type=Path, metavar="FILE", help="examples to measure with")
    parser.add_argument("--suffix", metavar="TEXT", help="what stands in the new model's name")
    parser.add_argument("--method", choices=_METHODS, help="how a classifier is trained (default: auto)")
    parser.add_argument("--time-budget", type=float, metavar="SECONDS", help="the longest training")
    parser.add_argument("--epochs", type=int, metavar="N", help="how often each example is trained on")
    parser.add_argument("--augment", action="store_true", help="train a classifier on typos too")
    parser.add_argument("--prune", type=int, metavar="LAYERS", help="keep only so many layers, the lowest")
    parser.add_argument("--prune-heads", type=float, metavar="SHARE", help="leave out a share of its attention heads")
    parser.add_argument("--distill", type=int, metavar="LAYERS", help="teach a student of so many layers, and keep it")
    parser.add_argument("--temperature", type=float, metavar="T", help="softens what a student learns (default: 2)")
    parser.add_argument("--no-quantize", action="store_true", help="serve a classifier in float32, not in int8")
    parser.add_argument("--seed", type=int, metavar="N", help="makes a training repeatable")
    parser.add_argument("--url", default=URL, metavar="URL", help="the gateway (default: %(default)s)")


def _run(options: argparse.Namespace) -> int:
    api = ApiClient(options.url)
    try:
        job = _order(api, options)
        print(f"{job['id']}: {job['status']}")
        return follow(api, job["id"], sys.stdout)
    except KeyboardInterrupt:
        print("\nThe job goes on; see 'headgate jobs'.")
        return FAILED
    except (ApiError, OSError) as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED


def _order(api: ApiClient, options: argparse.Namespace) -> dict[str, Any]:
    """Upload the files and make the job. Where that is refused, the files are deleted: no job will ever need them."""
    order = {
        "model": options.model,
        "suffix": options.suffix,
        "seed": options.seed,
        "method": {"type": "supervised", "supervised": {"hyperparameters": _hyperparameters(options)}},
    }
    files: dict[str, str] = {}
    try:
        files["training_file"] = api.upload(options.data, "fine-tune")
        if options.validation is not None:
            files["validation_file"] = api.upload(options.validation, "fine-tune")
        job: dict[str, Any] = _patiently(lambda: api.post("/v1/fine_tuning/jobs", order | files))
    except (ApiError, OSError):
        for file in files.values():
            with suppress(ApiError):
                api.delete(f"/v1/files/{file}")
        raise
    return job


def _hyperparameters(options: argparse.Namespace) -> dict[str, Any]:
    """Collect what was given, and leave it to the gateway to refuse what does not go together."""
    prune = {"layers": options.prune, "heads": options.prune_heads}
    distill = {"layers": options.distill, "temperature": options.temperature}
    given = {
        "method": options.method,
        "time_budget": options.time_budget,
        "n_epochs": options.epochs,
        "augment": True if options.augment else None,
        "quantize": False if options.no_quantize else None,
        "prune": _given(prune) or None,
        "distill": _given(distill) or None,
    }
    return _given(given)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def follow(api: ApiClient, job_id: str, out: TextIO) -> int:
    """Show what happens to a job until it has ended; return the exit code. Raises ``ApiError``."""
    display, seen = Display(out), ""
    while True:
        job = _patiently(lambda: api.get(f"/v1/fine_tuning/jobs/{job_id}"))
        events = _patiently(lambda: api.get(f"/v1/fine_tuning/jobs/{job_id}/events?limit=100"))["data"]
        new = []
        for event in events:
            if event["id"] == seen:
                break
            new.append(event)
        for event in reversed(new):
            display.event(event)
        seen = events[0]["id"] if events else seen
        display.status(job, time.time())
        if job["status"] in _ENDED:
            return display.end(job)
        time.sleep(_LOOK_SECONDS)


def _patiently(ask: Any) -> Any:
    """Ask again for a while where that may help."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask()
        except ApiError as error:
            if not error.again or time.monotonic() > until:
                raise
            time.sleep(_LOOK_SECONDS)


class Display:
    """What is shown of a job: its messages line by line, and below them on a terminal how it stands."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._numbers: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Display {self._numbers}>"

    def event(self, event: Mapping[str, Any]) -> None:
        """Show what has happened; on a terminal numbers are shown in their place only."""
        if event["type"] == "metrics":
            self._numbers.update(event["data"])
            if self._live:
                return
        self._line(event["message"])

    def status(self, job: Mapping[str, Any], now: float) -> None:
        """Show how a job stands, on a terminal."""
        if self._live:
            self._out.write(f"\r\x1b[K{standing(job, self._numbers, now)}")
            self._out.flush()

    def end(self, job: Mapping[str, Any]) -> int:
        """Say how a job has ended; return the exit code."""
        if job["status"] == "succeeded":
            self._line(f"{job['fine_tuned_model']} is served.")
            return 0
        # Why it has failed, the last event has said.
        self._line(f"The job's status is {job['status']}.")
        return FAILED

    def _line(self, text: str) -> None:
        self._out.write(f"\r\x1b[K{text}\n" if self._live else f"{text}\n")
        self._out.flush()


def standing(job: Mapping[str, Any], numbers: Mapping[str, float], now: float) -> str:
    """Write how a job stands on one line: phase, loss, accuracy, and the time that is left."""
    progress = job.get("progress") or {}
    parts = [str(job["status"])]
    if progress:
        parts = [f"{progress['phase']} {progress['share']:4.0%}"]
    for name, words in (
        ("train_loss", "loss"),
        ("valid_loss", "validation loss"),
        ("train_mean_token_accuracy", "accuracy"),
        ("valid_mean_token_accuracy", "validation accuracy"),
    ):
        if name in numbers:
            shown = f"{numbers[name]:.1%}" if "accuracy" in name else f"{numbers[name]:.4f}"
            parts.append(f"{words} {shown}")
    if job.get("estimated_finish"):
        left = max(0, int(job["estimated_finish"] - now))
        parts.append(f"{left // 60}:{left % 60:02} left")
    return "   ".join(parts)
