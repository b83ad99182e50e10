"""Takes over what a training writes of itself: events for clients, checkpoints, and what becomes of the job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from engines.tuning.records import Checkpoint, Event, Hyperparameters, Job, Level, Progress

_METRICS = (
    "step",
    "total_steps",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
_IN_WORDS = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "full_valid_loss": "full validation loss",
}


def take_over(job: Job, lines: Iterable[Mapping[str, Any]]) -> tuple[list[Event], list[Checkpoint]]:
    """Change a job by what its training has written, and give what there is to keep beside it.

    A line of a type that is not known is passed over: a later training may write more.
    """
    events: list[Event] = []
    checkpoints: list[Checkpoint] = []
    for line in lines:
        at = float(line.get("at", 0.0))
        match line.get("type"):
            case "message":
                level: Level = line["level"] if line.get("level") in get_args(Level) else "info"
                events.append(Event(at, str(line.get("message", "")), level))
            case "metrics":
                events.append(_metrics(at, line))
            case "progress":
                left = line.get("seconds_left")
                finish = at + left if isinstance(left, int | float) else None
                job.progress = Progress(str(line.get("phase", "")), float(line.get("share", 0.0)), finish)
            case "checkpoint":
                checkpoints.append(Checkpoint(int(line.get("step", 0)), at, dict(line.get("metrics") or {})))
            case "trained":
                job.trained_tokens = int(line.get("trained_tokens", 0))
            case "resolved":
                job.hyperparameters = _resolved(line.get("hyperparameters"), job.hyperparameters)
    return events, checkpoints


def _metrics(at: float, line: Mapping[str, Any]) -> Event:
    """Write the line that OpenAI's dashboards show of a step."""
    data = {name: line[name] for name in _METRICS if line.get(name) is not None}
    losses = [f"{words}={data[name]:.4f}" for name, words in _IN_WORDS.items() if isinstance(data.get(name), float)]
    message = f"Step {data.get('step', '?')}/{data.get('total_steps', '?')}: {', '.join(losses)}"
    return Event(at, message, type="metrics", data=data)


def _resolved(given: Any, before: Hyperparameters) -> Hyperparameters:
    try:
        return msgspec.convert(given, Hyperparameters)
    except msgspec.ValidationError:
        return before
