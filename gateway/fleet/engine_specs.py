"""What the supervisor is to start, derived from the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from engines.errors import EngineError
from engines.files.adapters import rank_for
from engines.files.sources import default_cache
from engines.onnx.options import OnnxOptions
from engines.processes.gpus import check_demand
from engines.spec import (
    EngineSpec,
    FolderSource,
    HubSource,
    PackageFile,
    PackageSource,
    RayDemand,
    SleepMode,
    Source,
    TraceExport,
)
from gateway.config.models import ModelConfig
from gateway.config.ray import RayModelTable
from gateway.config.schema import Config
from gateway.config.source import PackageTable, is_path
from gateway.config.tracing import settings_of


def source_of(source: str | PackageTable) -> Source:
    """Tell a folder from a hub's id and from a package."""
    if not isinstance(source, str):
        files = tuple(PackageFile(name, file.path, file.sha256) for name, file in source.files.items())
        return PackageSource(source.package, files)
    return FolderSource(Path(source).absolute()) if is_path(source) else HubSource(source)


def cache_of(config: Config) -> Path:
    """Return the folder for model files."""
    return config.gateway.cache or default_cache()


def _check_cpu_engines(config: Config, gpus_each: Mapping[str, int]) -> None:
    most = config.gateway.cpu_engines
    on_cpu = {name: config.models[name] for name, gpus in gpus_each.items() if not gpus}
    wanted = sum(model.replicas_at_first for model in on_cpu.values() if model.engine != "remote")
    if most is not None and wanted > most:
        raise EngineError(
            f"The models ask for {wanted} engines without a GPU, but gateway.cpu_engines allows {most}; "
            "lower replicas or scaling.min, or raise it."
        )


def _check_sleep(config: Config, gpus_each: Mapping[str, int]) -> None:
    for name, gpus in gpus_each.items():
        if not gpus and _sleep_of(config.models[name]) is not None:
            raise EngineError(
                f"models.{name}.scaling.sleep_level: vLLM sleeps on GPUs only, and none can be used here; leave it out "
                "(replicas that are not needed are stopped then), or widen CUDA_VISIBLE_DEVICES."
            )


def specs_of(config: Config, gpus: int) -> list[EngineSpec]:
    """Say what the supervisor is to start on a machine with so many GPUs.

    Raises ``EngineError`` where there are too few of them, where more engines would run on the CPU than may, or where
    some are to sleep there.
    """
    ours = {name: model for name, model in config.models.items() if model.engine != "remote"}
    each = {name: model.gpus_each(has_gpu=gpus > 0) for name, model in ours.items()}
    here = {name: each[name] for name, model in ours.items() if model.placement == "local"}
    _check_cpu_engines(config, here)
    _check_sleep(config, here)
    check_demand({name: (ours[name].replicas_at_first, gpus) for name, gpus in here.items()}, gpus)
    tracing = settings_of(config.gateway.tracing, os.environ)
    traces = None if tracing is None else TraceExport(tracing.url, tracing.headers)
    return [
        EngineSpec(
            model=name,
            engine=model.engine,
            source=source_of(model.source),
            replicas=model.replicas_at_first,
            gpus=each[name],
            args=model.args,
            env=model.env,
            startup_timeout=model.startup_timeout,
            tasks=model.tasks_here,
            onnx=model.options if model.engine == "onnx" else OnnxOptions(),
            traces=traces,
            lora_rank=_lora_rank(model),
            ray=_ray_demand(model.ray or RayModelTable()) if model.placement == "ray" else None,
            sleep=_sleep_of(model),
        )
        for name, model in ours.items()
    ]


def _ray_demand(table: RayModelTable) -> RayDemand:
    return RayDemand(
        cpus=table.num_cpus,
        memory=table.memory or 0,
        resources=table.resources,
        labels=table.label_selector,
        runtime_env=table.runtime_env,
    )


def _sleep_of(model: ModelConfig) -> SleepMode | None:
    """Say how the replicas of a model sleep that are not needed, if they do."""
    if model.engine == "remote" or model.scaling is None or model.scaling.sleep_level is None:
        return None
    return SleepMode(model.scaling.sleep_level, model.scaling.max)


def _lora_rank(model: ModelConfig) -> int:
    """Give the rank of adapters that the engines of a model are to be ready for, 0 for none."""
    if model.engine != "vllm" or model.adapters is None:
        return 0
    own = next((value for name, value in model.args.items() if name.replace("_", "-") == "max-lora-rank"), None)
    return own if isinstance(own, int) else rank_for(model.adapters.values())
