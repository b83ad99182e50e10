"""What tests of fine-tuning have in common: examples, a base's weights, and a training that follows the protocol."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob

from engines.tuning.child import Child, Say
from engines.tuning.local_child import LocalChild
from engines.tuning.records import JobOrder, TrainingFile, TuningSettings, Weights
from tests.engines.onnx.tiny import write_classifier

TRAIN = (sys.executable, "-S", str(Path(__file__).parent / "training_child.py"))
"""The command of a training that learns nothing."""

EXAMPLES = "".join(
    json.dumps({"text": f"{word} {number}", "label": word}) + "\n" for number in range(10) for word in ("good", "bad")
).encode()


def weights(folder: Path) -> Path:
    """Make the folder of a base's weights, with the model that a training is to make of them."""
    made = folder / "weights" / "made"
    made.mkdir(parents=True)
    write_classifier(made)
    (made.parent / "config.json").write_text("{}")
    (made.parent / "model.safetensors").write_bytes(b"")
    return made.parent


async def start_child(command: Sequence[str], log: Path, say: Say) -> Child:
    """Start a training on this machine, on one thread and with memory for a small one."""
    return await LocalChild.start(command, log, say, threads=1, memory_bytes=2**30)


def settings(folder: Path, **other: Any) -> TuningSettings:
    """Give the settings of a server with one job at a time."""
    usual: dict[str, Any] = {"jobs": 1, "threads": 1, "memory_bytes": 2**30, "time_budget": 60.0, "train": list(TRAIN)}
    return TuningSettings(folder=str(folder / "tuning"), cache=str(folder / "cache"), **(usual | other))


def order(folder: Path, suffix: str = "", **other: Any) -> JobOrder:
    """Order a job on the weights in a folder; the suffix says how the training goes."""
    file = folder / "examples.jsonl"
    file.write_bytes(EXAMPLES)
    usual: dict[str, Any] = {
        "owner": "",
        "organization": "acme",
        "base": "base",
        "kind": "classifier",
        "weights": Weights(folder=str(folder / "weights")),
        "training_file": TrainingFile("file-1", str(file)),
        "suffix": suffix,
        "seed": 1,
    }
    return JobOrder(**(usual | other))


def tunable(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configure a base that nothing is started for, another that cannot be tuned, and where everything is kept."""
    made = str(folder / "weights" / "made")
    base = {"engine": "onnx", "source": made, "tasks": ["classify"], "replicas": 0, "required": False}
    models = {"base": base | {"tuning": {"source": str(folder / "weights")}}, "plain": base}
    return models, {"tuning": {"folder": str(folder / "tuning")}, "files": {"folder": str(folder / "files")}}


async def job_of(api: AsyncOpenAI, suffix: str, **other: Any) -> FineTuningJob:
    """Upload examples, and order a job whose suffix says how it goes."""
    file = await api.files.create(file=("examples.jsonl", EXAMPLES), purpose="fine-tune")
    return await api.fine_tuning.jobs.create(model="base", training_file=file.id, suffix=suffix, **other)


async def until(api: AsyncOpenAI, job: FineTuningJob, *statuses: str) -> FineTuningJob:
    """Ask for a job until it has one of these statuses."""
    async with asyncio.timeout(240):
        while True:
            job = await api.fine_tuning.jobs.retrieve(job.id)
            if job.status in statuses:
                return job
            await asyncio.sleep(0.05)


async def until_held(api: AsyncOpenAI, job: FineTuningJob) -> None:
    """Ask for a job that holds until it has its first checkpoint."""
    async with asyncio.timeout(240):
        while True:
            if (await api.fine_tuning.jobs.checkpoints.list(job.id)).data:
                return
            await asyncio.sleep(0.05)
