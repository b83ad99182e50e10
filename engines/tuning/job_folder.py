"""The folder of one job, as the tuning server writes and reads it; what the training writes is its protocol."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from engines.tuning.records import Job, JobError, TuningSettings
from engines.tuning.whole_file import write_whole

_LOG_TAIL_BYTES = 4096
_LOG_TAIL_LINES = 5


class JobFolder:
    """Where everything of one job lies. Its methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.training = path / "training.jsonl"
        self.validation = path / "validation.jsonl"
        self.log = path / "train.log"
        self.result = path / "result"
        self._checkpoints = path / "checkpoints"

    def __repr__(self) -> str:
        return f"<JobFolder {self.path}>"

    def take_files(self, training: str, validation: str | None) -> None:
        """Keep the files of examples, which their owner may delete meanwhile. Raises ``OSError``."""
        self.path.mkdir(parents=True, mode=0o700)
        _keep(training, self.training)
        if validation is not None:
            _keep(validation, self.validation)

    def write_job(self, job: Job, weights: Path, settings: TuningSettings) -> None:
        """Write what the training is to do, in one step. Raises ``OSError``."""
        order = job.order
        budget = settings.time_budget if order.time_budget is None else min(order.time_budget, settings.time_budget)
        told = {
            "id": job.id,
            "name": job.name,
            "kind": order.kind,
            "base": {"name": order.base, "weights": str(weights)},
            "method": "lora" if order.kind == "lora" else order.method,
            "training_file": str(self.training),
            "validation_file": None if order.validation_file is None else str(self.validation),
            "hyperparameters": order.hyperparameters,
            "seed": order.seed,
            "time_budget": budget,
            "threads": settings.threads,
            "augment": order.augment,
            "quantize": order.quantize,
            "prune": order.prune,
            "distill": order.distill,
        }
        write_whole(self.path / "job.json", msgspec.json.encode(told))

    def new_lines(self, read_bytes: int) -> tuple[list[dict[str, Any]], int]:
        """Read the whole lines behind so many bytes of the events, and tell how many bytes that makes.

        A line that a killed process has cut is passed over.
        """
        try:
            with (self.path / "events.jsonl").open("rb") as file:
                file.seek(read_bytes)
                data = file.read()
        except FileNotFoundError:
            return [], read_bytes
        whole, _, _ = data.rpartition(b"\n")
        lines = []
        for line in whole.splitlines():
            try:
                value = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(value, dict):
                lines.append(value)
        return lines, read_bytes + (len(whole) + 1 if whole else 0)

    def error(self) -> JobError:
        """Read why the job can never succeed."""
        try:
            return msgspec.json.decode((self.path / "error.json").read_bytes(), type=JobError)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return JobError("training_failed", f"The training failed and does not say why. {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what the training has logged."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return "Its last words:\n" + "\n".join(lines[-_LOG_TAIL_LINES:]) if lines else "It said nothing."

    def tidy(self, keep: Sequence[Path] = ()) -> None:
        """Remove what is not needed any more: everything but the log, and what is to be kept."""
        kept = {self.log, *keep}
        for each in self.path.iterdir() if self.path.is_dir() else ():
            if each in kept:
                continue
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)


def _keep(source: str, target: Path) -> None:
    """Let a file that never changes have a second name, or copy it to another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
