"""What a job tells while it runs: one JSON object a line, flushed, so that ``events.jsonl`` can be read along."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

Level = Literal["info", "warn", "error"]
Phase = Literal["prepare", "probe", "train", "shrink", "evaluate", "export", "quantize", "card"]


class Events(Protocol):
    """Where events go."""

    def message(self, text: str, level: Level = "info") -> None:
        """Tell something in words."""

    def metrics(self, step: int, total_steps: int, values: Mapping[str, float]) -> None:
        """Tell what was measured at a step."""

    def progress(self, phase: Phase, share: float, seconds_left: float | None = None) -> None:
        """Tell how much of a phase is done, 0 to 1, and how long the rest of it takes if that is known."""

    def checkpoint(self, step: int, path: Path, metrics: Mapping[str, float]) -> None:
        """Tell that a checkpoint is complete."""

    def trained(self, tokens: int) -> None:
        """Tell how many tokens were trained on."""

    def resolved(self, hyperparameters: Mapping[str, float]) -> None:
        """Tell what the hyperparameters that were left open have become."""


class EventLog:
    """Appends events to a file. A line that a killed process left unfinished is ended first."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        if self._file.tell() and not file.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def message(self, text: str, level: Level = "info") -> None:
        """Tell something in words."""
        self._write("message", level=level, message=text)

    def metrics(self, step: int, total_steps: int, values: Mapping[str, float]) -> None:
        """Tell what was measured at a step."""
        self._write("metrics", step=step, total_steps=total_steps, **values)

    def progress(self, phase: Phase, share: float, seconds_left: float | None = None) -> None:
        """Tell how much of a phase is done, 0 to 1, and how long the rest of it takes if that is known."""
        self._write("progress", phase=phase, share=round(share, 4), seconds_left=seconds_left)

    def checkpoint(self, step: int, path: Path, metrics: Mapping[str, float]) -> None:
        """Tell that a checkpoint is complete."""
        self._write("checkpoint", step=step, path=str(path), metrics=dict(metrics))

    def trained(self, tokens: int) -> None:
        """Tell how many tokens were trained on."""
        self._write("trained", trained_tokens=tokens)

    def resolved(self, hyperparameters: Mapping[str, float]) -> None:
        """Tell what the hyperparameters that were left open have become."""
        self._write("resolved", hyperparameters=dict(hyperparameters))

    def _write(self, kind: str, **fields: Any) -> None:
        line = msgspec.json.encode({"at": round(time.time(), 3), "type": kind, **fields})
        self._file.write(line + b"\n")
