"""Events are lines of JSON that are there as soon as they are told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from engines.train.events import EventLog


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_each_kind_of_event_has_its_fields(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    with EventLog(file) as events:
        events.message("Begun.")
        events.message("Odd.", "warn")
        events.metrics(3, 10, {"train_loss": 0.5, "train_mean_token_accuracy": 0.75})
        events.progress("train", 0.33333333, 12.5)
        events.checkpoint(3, Path("/a/step-3"), {"train_loss": 0.5})
        events.trained(99)
        events.resolved({"n_epochs": 3})
        found = lines(file)  # while it is open
    assert all(abs(event.pop("at") - time.time()) < 60 for event in found)
    assert found == [
        {"type": "message", "level": "info", "message": "Begun."},
        {"type": "message", "level": "warn", "message": "Odd."},
        {"type": "metrics", "step": 3, "total_steps": 10, "train_loss": 0.5, "train_mean_token_accuracy": 0.75},
        {"type": "progress", "phase": "train", "share": 0.3333, "seconds_left": 12.5},
        {"type": "checkpoint", "step": 3, "path": "/a/step-3", "metrics": {"train_loss": 0.5}},
        {"type": "trained", "trained_tokens": 99},
        {"type": "resolved", "hyperparameters": {"n_epochs": 3}},
    ]


def test_a_line_that_was_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"at": 1, "ty')
    with EventLog(file) as events:
        events.message("Begun again.")
    assert json.loads(file.read_text().splitlines()[1])["message"] == "Begun again."
