"""Which models jobs can be started from, and where the tuning server keeps its own: derived from the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.files.sources import default_cache
from engines.tuning.records import Kind, TuningSettings, Weights, default_threads
from gateway.config.models import ModelConfig
from gateway.config.schema import Config
from gateway.config.source import PackageTable, is_path
from gateway.files.folder import default_folder


@dataclass(frozen=True, slots=True)
class Base:
    """A model that can be fine-tuned: what becomes of it, and the weights to begin with."""

    kind: Kind
    weights: Weights


def bases_of(config: Config) -> dict[str, Base]:
    """Give the models that can be fine-tuned.

    Of an ONNX model with the table ``tuning`` jobs make classifiers; of a model of vLLM that takes adapters and whose
    files are here, LoRA adapters.
    """
    return {name: base for name, model in config.models.items() if (base := _base_of(model)) is not None}


def why_not(config: Config, name: str) -> str:
    """Say what a model lacks to be fine-tuned."""
    if name.startswith("ft:"):
        return "it is a fine-tuned model itself, and jobs start from the models of the configuration"
    model = config.models.get(name)
    if model is None or model.engine == "remote":
        return "it does not run here"
    if model.engine == "onnx":
        return f"its weights for PyTorch are not known; the table [models.{name}.tuning] names them"
    if model.adapters is None:
        return f"it takes no adapters; an empty table [models.{name}.adapters] lets it"
    return "its files are on a hub; name a folder or a package as its source"


def folder_of(config: Config) -> Path:
    """Return the folder for jobs and their models."""
    if config.gateway.tuning.folder is not None:
        return config.gateway.tuning.folder.absolute()
    return default_folder("tuning")


def settings_of(config: Config, train: Sequence[str]) -> TuningSettings:
    """Say what the tuning server is told. ``train`` is the command that runs one job, here or on each node."""
    tuning = config.gateway.tuning
    table = config.gateway.ray if tuning.placement == "ray" else None
    cluster = None if table is None else table.cluster
    if cluster is not None:
        train = [cluster.python, *train[1:]]
    return TuningSettings(
        folder=str(folder_of(config)),
        cache=str(config.gateway.cache or default_cache()),
        jobs=tuning.jobs,
        threads=tuning.threads or (default_threads(tuning.jobs) if cluster is None else 1),
        memory_bytes=tuning.memory_bytes,
        time_budget=tuning.time_budget,
        train=list(train),
        ray=cluster,
    )


def _base_of(model: ModelConfig) -> Base | None:
    if model.engine == "onnx":
        return None if model.tuning is None else Base("classifier", _weights(model.tuning.source))
    if model.engine == "remote" or model.adapters is None:
        return None
    if isinstance(model.source, str) and not is_path(model.source):
        return None
    return Base("lora", _weights(model.source))


def _weights(source: str | PackageTable) -> Weights:
    if isinstance(source, str):
        return Weights(folder=str(Path(source).absolute()))
    files: Mapping[str, tuple[str, str]] = {name: (file.path, file.sha256) for name, file in source.files.items()}
    return Weights(package=source.package, files=dict(files))
