"""What a job is asked to do, and where in its folder everything lies; the server writes it, the child reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from engines.train.errors import JobError

Method = Literal["auto", "probe", "full", "top_layers", "lora"]
Auto = Literal["auto"]


class Base(msgspec.Struct, frozen=True):
    """The model that is trained further: a Hugging Face folder, or for ``lora`` of a chat model one GGUF file."""

    name: str
    weights: str


class Chosen(NamedTuple):
    """Hyperparameters with nothing left open."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


class Hyperparameters(msgspec.Struct, frozen=True):
    """OpenAI's hyperparameters; ``auto`` leaves one to the method."""

    n_epochs: Annotated[int, Meta(ge=1)] | Auto = "auto"
    batch_size: Annotated[int, Meta(ge=1)] | Auto = "auto"
    learning_rate_multiplier: Annotated[float, Meta(gt=0)] | Auto = "auto"

    def resolved(self, epochs: int, batch_size: int) -> Chosen:
        """Give what is left open the values of the method."""
        return Chosen(
            epochs if self.n_epochs == "auto" else self.n_epochs,
            batch_size if self.batch_size == "auto" else self.batch_size,
            1.0 if self.learning_rate_multiplier == "auto" else self.learning_rate_multiplier,
        )


class Prune(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keep only the lowest ``layers`` of a trained encoder, leave out a share ``heads`` of its attention heads.

    Or both; what is left is trained on.
    """

    layers: Annotated[int, Meta(ge=1)] | None = None
    heads: Annotated[float, Meta(gt=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        """Raise ``ValueError`` where nothing is to be left out."""
        if self.layers is None and self.heads is None:
            raise ValueError("Object missing both `layers` and `heads`; expected one at least")


class Distill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Train a student of ``layers`` layers on a trained model's answers, softened by ``temperature``."""

    layers: Annotated[int, Meta(ge=1)]
    temperature: Annotated[float, Meta(ge=1, le=20)] = 2.0


class Job(msgspec.Struct, frozen=True):
    """``job.json``. ``time_budget`` is in seconds of training; ``name`` is that of the model to be."""

    id: str
    name: str
    kind: Literal["classifier", "lora"]
    base: Base
    training_file: str
    method: Method = "auto"
    validation_file: str | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    seed: int = 0
    time_budget: Annotated[float, Meta(gt=0)] = 60.0
    threads: Annotated[int, Meta(ge=1)] = 1
    augment: bool = False
    quantize: bool = True
    prune: Prune | None = None
    distill: Distill | None = None

    @property
    def validation(self) -> Path | None:
        """The file to validate with, if there is one."""
        return None if self.validation_file is None else Path(self.validation_file)

    @property
    def smaller(self) -> Prune | Distill | None:
        """How the model is to be made smaller in the end."""
        return self.prune or self.distill

    @property
    def layers(self) -> int | None:
        """How many layers the model is to have in the end, ``None`` for all of the base's."""
        return None if self.smaller is None else self.smaller.layers


class JobFolder:
    """The folder of one job. What appears in it in one step is made under a hidden name and renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self.result = path / "result"
        self.unfinished = path / ".result"
        self.error = path / "error.json"

    def __repr__(self) -> str:
        return f"<JobFolder {self.path}>"

    def job(self) -> Job:
        """Read ``job.json``. Raises ``JobError`` naming the field that is wrong."""
        file = self.path / "job.json"
        try:
            job = msgspec.json.decode(file.read_bytes(), type=Job)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise JobError("invalid_job", f"{file} cannot be read: {error}.") from error
        if job.prune is not None and job.distill is not None:
            raise JobError("invalid_job", "Of prune and distill only one can be given.", "distill")
        if job.smaller is not None and job.kind != "classifier":
            raise JobError("invalid_job", "Only classifiers can be made smaller; leave prune and distill out.", "prune")
        return job

    def write_error(self, error: JobError) -> None:
        """Say why the job can never succeed, in one step."""
        content = msgspec.json.encode({"code": error.code, "message": error.message, "param": error.param})
        temporary = self.error.with_name(".error.json")
        temporary.write_bytes(content + b"\n")
        temporary.rename(self.error)
