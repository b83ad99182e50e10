"""What the start-up display says of each model."""

from __future__ import annotations

from gateway.config.schema import Config
from gateway.console import Row
from gateway.pools.model import Model
from gateway.pools.registry import Registry


def rows_of(config: Config, registry: Registry) -> list[Row]:
    """Say how all models are, each with its engine and its replicas."""
    return [_row_of(config, model) for model in registry.models]


def _row_of(config: Config, model: Model) -> Row:
    pool = model.pool
    if model.parent is not None:
        loaded = len(pool.able(model.upstream_name))
        tasks, state = tuple(model.tasks), "ready" if loaded else "not loaded"
        return Row(model.name, f"LoRA of {model.parent.name}", tasks, loaded, len(pool.replicas), state)
    settings = config.models[model.name]
    if pool.on_demand and not pool.replicas:
        return Row(model.name, settings.engine, settings.tasks_here, 0, 0, "scaled to zero until it is asked")
    troubled = next((replica for replica in pool.replicas if not replica.ready), None)
    state = "ready" if troubled is None else str(troubled.state)
    reason = "" if troubled is None else troubled.reason
    if pool.discovered is not None and not pool.replicas:
        trouble = pool.discovered.trouble
        state, reason = "nothing found", f"{pool.discovered.source}: {trouble}" if trouble else ""
    ready, replicas = len(pool.ready), len(pool.replicas)
    return Row(model.name, settings.engine, settings.tasks_here, ready, replicas, state, reason)
