"""What the supervisor is to start, derived from the configuration."""

from __future__ import annotations

from pathlib import Path

from engines.files.sources import default_cache
from engines.processes import gpus
from engines.spec import EngineSpec, FolderSource, HubSource, PackageFile, PackageSource, Source
from gateway.config.models import ModelConfig
from gateway.config.schema import Config


def source_of(model: ModelConfig) -> Source:
    """Tell a folder from a hub's id and from a package."""
    source = model.source
    if source is None:
        raise ValueError("a model that is started here has a source; the configuration checks that")
    if not isinstance(source, str):
        files = tuple(PackageFile(name, file.path, file.sha256) for name, file in source.files.items())
        return PackageSource(source.package, files)
    folder = Path(source).expanduser()
    looks_like_a_path = source.startswith((".", "/", "~")) or folder.is_dir()
    return FolderSource(folder.absolute()) if looks_like_a_path else HubSource(source)


def cache_of(config: Config) -> Path:
    """Return the folder for model files."""
    return config.gateway.cache or default_cache()


def specs_of(config: Config) -> list[EngineSpec]:
    """Say what the supervisor is to start. Raises ``EngineError`` when there are too few GPUs."""
    devices = gpus.available()
    here = {name: model for name, model in config.models.items() if model.engine != "remote"}
    each = {name: model.gpus_each(has_gpu=bool(devices)) for name, model in here.items()}
    assigned = gpus.assign({name: (model.replicas, each[name]) for name, model in here.items()}, devices)
    return [
        EngineSpec(
            model=name,
            engine=model.engine,
            source=source_of(model),
            gpus=assigned[name],
            args=model.args,
            env=model.env,
            startup_timeout=model.startup_timeout,
            tasks=model.tasks_here,
            labels=model.labels,
            max_length=model.max_length,
            output=model.output,
            moderation=model.moderation,
            moderation_threshold=model.moderation_threshold,
            golden=None if model.golden is None else model.golden.model_dump_json(exclude_none=True),
            variant=model.variant,
        )
        for name, model in here.items()
    ]
