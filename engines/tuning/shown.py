"""Jobs, events and checkpoints as OpenAI shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from engines.train.job import Distill, Prune
from engines.tuning.records import Checkpoint, Event, Hyperparameters, Job, JobError, Method, Progress, Status


class ShownHyperparameters(msgspec.Struct):
    """OpenAI's hyperparameters, and those that only this server knows."""

    n_epochs: int | Literal["auto"]
    batch_size: int | Literal["auto"]
    learning_rate_multiplier: float | Literal["auto"]
    method: Method
    augment: bool
    quantize: bool
    time_budget: float | None
    prune: Prune | None
    distill: Distill | None


class SupervisedMethod(msgspec.Struct):
    """The hyperparameters of supervised training."""

    hyperparameters: ShownHyperparameters


class JobMethod(msgspec.Struct):
    """How a job trains."""

    supervised: SupervisedMethod
    type: Literal["supervised"] = "supervised"


class FineTuningJob(msgspec.Struct, kw_only=True):
    """A job. ``progress`` is not OpenAI's: the phase that is under way, and how far it is."""

    id: str
    model: str
    created_at: int
    finished_at: int | None
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: Status
    training_file: str
    validation_file: str | None
    hyperparameters: Hyperparameters
    trained_tokens: int | None
    error: JobError | None
    seed: int
    estimated_finish: int | None
    metadata: dict[str, str] | None
    method: JobMethod
    progress: Progress | None
    integrations: list[str] = []
    object: Literal["fine_tuning.job"] = "fine_tuning.job"

    @classmethod
    def of(cls, job: Job) -> FineTuningJob:
        """Show a job."""
        order, running = job.order, job.status == "running"
        finish = job.progress.finish if running and job.progress is not None else None
        own = ShownHyperparameters(
            job.hyperparameters.n_epochs,
            job.hyperparameters.batch_size,
            job.hyperparameters.learning_rate_multiplier,
            order.method,
            order.augment,
            order.quantize,
            order.time_budget,
            order.prune,
            order.distill,
        )
        return cls(
            id=job.id,
            model=order.base,
            created_at=job.created_at,
            finished_at=job.finished_at,
            fine_tuned_model=job.name if job.status == "succeeded" else None,
            organization_id=order.organization,
            result_files=job.result_files,
            status=job.status,
            training_file=order.training_file.id,
            validation_file=None if order.validation_file is None else order.validation_file.id,
            hyperparameters=job.hyperparameters,
            trained_tokens=job.trained_tokens,
            error=job.error,
            seed=order.seed,
            estimated_finish=None if finish is None else int(finish),
            metadata=order.metadata,
            method=JobMethod(SupervisedMethod(own)),
            progress=job.progress if running else None,
        )


class FineTuningEvent(msgspec.Struct):
    """What has happened to a job."""

    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"

    @classmethod
    def of(cls, event: Event) -> FineTuningEvent:
        """Show an event."""
        return cls(f"{EVENT}{event.number}", int(event.at), event.level, event.message, event.type, event.data)


class FineTuningCheckpoint(msgspec.Struct):
    """A checkpoint of a job; it can be resumed from, and is not served."""

    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, Any]
    step_number: int
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"

    @classmethod
    def of(cls, job: Job, checkpoint: Checkpoint) -> FineTuningCheckpoint:
        """Show a checkpoint."""
        return cls(
            f"{CHECKPOINT}{checkpoint.number}",
            int(checkpoint.at),
            f"{job.name}:ckpt-step-{checkpoint.step}",
            job.id,
            {"step": checkpoint.step, **checkpoint.metrics},
            checkpoint.step,
        )


EVENT, CHECKPOINT = "ftevent-", "ftckpt-"
"""What ids of events and checkpoints begin with."""


class _Page(msgspec.Struct):
    """A page of a list; without ``has_more``, OpenAI's SDK would ask for the next one for ever."""

    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class JobPage(_Page, kw_only=True):
    """A page of jobs, the newest first; ``has_more`` says whether there is another one behind ``last_id``."""

    data: list[FineTuningJob]


class EventPage(_Page, kw_only=True):
    """A page of a job's events, the newest first."""

    data: list[FineTuningEvent]


class CheckpointPage(_Page, kw_only=True):
    """A page of a job's checkpoints, the newest first."""

    data: list[FineTuningCheckpoint]


def ends_of(shown: Sequence[FineTuningJob | FineTuningEvent | FineTuningCheckpoint]) -> tuple[str | None, str | None]:
    """Give the first and the last id of a page."""
    return (shown[0].id, shown[-1].id) if shown else (None, None)
