"""What gateway and tuning server tell each other, and what is kept of a job: declarations alone."""

from __future__ import annotations

import os
import sys
from typing import Literal

import msgspec

from engines.ray.cluster import RayCluster
from engines.train.job import Distill, Prune

TRAIN = (sys.executable, "-m", "engines.train")
"""The command that runs one job; the job's folder follows it."""

Kind = Literal["classifier", "lora"]
"""What a job makes: a classifier of its own on an encoder, or a LoRA adapter of a generating model."""

Method = Literal["auto", "probe", "full", "top_layers", "lora"]
"""How a classifier is trained; ``auto`` keeps the better of a probe and a training of all layers."""

Status = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
"""Where a job stands, in OpenAI's words."""

Stage = Literal["train", "publish", "withdraw", "done"]
"""What is to be done next, beside the status that clients see: the gateway publishes and withdraws models."""

Level = Literal["info", "warn", "error"]


class TuningSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a tuning server is told at its start.

    ``jobs`` train at the same time, each on ``threads`` threads, within ``memory_bytes`` and for ``time_budget``
    seconds at most. ``train`` is the command that runs one job; the job's folder follows it. They train
    on the cluster ``ray``, or without one as processes of this machine.
    """

    folder: str
    cache: str
    jobs: int
    threads: int
    memory_bytes: int
    time_budget: float
    train: list[str]
    ray: RayCluster | None = None


def default_threads(jobs: int) -> int:
    """Share the cores that this process may use among as many jobs."""
    return max(1, len(os.sched_getaffinity(0)) // jobs)


class Weights(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the weights of a base are: a folder, or ``files`` of a package: its path there and SHA-256 by each name."""

    folder: str | None = None
    package: str | None = None
    files: dict[str, tuple[str, str]] = {}


class Hyperparameters(msgspec.Struct, frozen=True):
    """OpenAI's three numbers; ``auto`` leaves one to the training."""

    n_epochs: int | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    learning_rate_multiplier: float | Literal["auto"] = "auto"


class TrainingFile(msgspec.Struct, frozen=True):
    """A file of examples: the id that its owner knows it by, and where it is."""

    id: str
    path: str


class JobOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway orders for a client, whose wishes it has checked.

    ``owner`` is the id of the client's key, empty without keys; ``organization`` stands in the name of the model.
    ``time_budget`` is in seconds, ``None`` for that of the server.
    """

    owner: str
    organization: str
    base: str
    kind: Kind
    weights: Weights
    training_file: TrainingFile
    validation_file: TrainingFile | None = None
    suffix: str = ""
    seed: int
    method: Method = "auto"
    hyperparameters: Hyperparameters = Hyperparameters()
    time_budget: float | None = None
    augment: bool = False
    quantize: bool = False
    prune: Prune | None = None
    distill: Distill | None = None
    metadata: dict[str, str] | None = None


class JobError(msgspec.Struct, frozen=True):
    """Why a job has failed."""

    code: str
    message: str
    param: str | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a phase of a job is, from 0 to 1, and when the job is expected to end, in seconds since 1970."""

    phase: str
    share: float
    finish: float | None = None


class Job(msgspec.Struct, kw_only=True):
    """One job as it is kept. ``name`` is that of the model to be; moments are in seconds since 1970.

    ``deaths`` counts the runs in a row that ended unasked without a new checkpoint. Of the events that the training
    has written, ``read_bytes`` have been taken over. ``deleted`` says that the model was served and is so no longer.
    """

    id: str
    name: str
    order: JobOrder
    created_at: int
    status: Status = "validating_files"
    stage: Stage = "train"
    finished_at: int | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    trained_tokens: int | None = None
    result_files: list[str] = []
    error: JobError | None = None
    progress: Progress | None = None
    deaths: int = 0
    read_bytes: int = 0
    deleted: bool = False

    @property
    def training(self) -> bool:
        """Whether the job is one that still has to be trained, now or later."""
        return self.stage == "train" and self.status in ("queued", "running")


class Event(msgspec.Struct, frozen=True):
    """What has happened to a job. ``number`` is given by the store."""

    at: float
    message: str
    level: Level = "info"
    type: Literal["message", "metrics"] = "message"
    data: dict[str, object] = {}
    number: int = 0


class Checkpoint(msgspec.Struct, frozen=True):
    """A state of a training from which it can go on."""

    step: int
    at: float
    metrics: dict[str, object]
    number: int = 0


class Task(msgspec.Struct, frozen=True):
    """What the gateway is to do for a job: publish its model, or let it be served no longer.

    ``warm_up`` comes while an adapter is still being trained: to ask its base what the adapter will be asked.
    """

    do: Literal["warm_up", "publish", "withdraw"]
    id: str
    name: str
    base: str
    kind: Kind
    owner: str
    folder: str


class Known(msgspec.Struct, frozen=True):
    """How many jobs of each status a gateway knows of; ``None`` before it has asked."""

    counts: dict[str, int] | None = None


class Published(msgspec.Struct, frozen=True):
    """What a gateway reports of a model that it serves: its job's files of results."""

    result_files: list[str]
