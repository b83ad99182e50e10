"""``[gateway.tuning]`` and ``[models.NAME.tuning]``: fine-tuning jobs, and what they start from."""

from __future__ import annotations

from pydantic import Field

from gateway.config.paths import FilePath
from gateway.config.source import FilesSource
from gateway.config.table import Table
from gateway.config.types import Placement, Seconds


class Tuning(Table):
    """``[gateway.tuning]``: where fine-tuning jobs and their models are kept, and what jobs may take."""

    folder: FilePath | None = Field(
        None,
        description="Folder for jobs and fine-tuned models, which belongs to one gateway; by default `headgate/tuning` "
        "in the user's data folder (`$XDG_DATA_HOME`, else `~/.local/share`).",
        examples=["/var/lib/headgate/tuning"],
    )
    placement: Placement = Field(
        "local",
        description="Where jobs train: `local`, on this machine, or `ray`, as jobs of the cluster of `[gateway.ray]`. "
        "See [finetuning.md](finetuning.md#on-a-ray-cluster).",
        examples=["ray"],
    )
    jobs: int = Field(1, ge=1, le=64, description="How many jobs train at the same time; others wait.")
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Threads of each job, which run at the lowest priority on this machine; on a Ray cluster the CPUs "
        "that it asks for. Default: the cores, divided by `jobs`; on a Ray cluster 1.",
        examples=[4],
    )
    memory_bytes: int = Field(
        8 * 1024**3, ge=256 * 1024**2, description="Most memory that each job may take, in bytes."
    )
    time_budget: Seconds = Field(
        600.0,
        description="How long a job may train, in seconds; a job may ask for less. What follows it is not counted.",
    )


class ModelTuning(Table):
    """``[models.NAME.tuning]``: the weights from which jobs train classifiers on this model."""

    source: FilesSource = Field(
        description="Where the model's weights for PyTorch are, as for `source` of the model: a folder or a package "
        "with `config.json`, `tokenizer.json` and `*.safetensors`.",
        examples=["./weights/minilm"],
    )
