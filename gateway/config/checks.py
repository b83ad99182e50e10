"""What options of one table mean together: rules that no single option can state."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.config.types import ONNX_TASKS, Task

_REMOTE_ONLY = frozenset({"urls", "upstream_model", "api_key_env"})


_HERE_ONLY = frozenset({"source", "replicas", "gpus", "args", "env", "startup_timeout"})


_ONNX_ONLY = frozenset({"labels", "max_length", "output", "moderation", "moderation_threshold", "golden", "variant"})


def misfits(model: Mapping[str, Any]) -> Iterator[str]:
    """Say what does not go together in the table of a model, which may have other mistakes too."""
    engine, tasks, key = model.get("engine"), model.get("tasks", ()), model.get("api_key_env")
    if engine not in ("vllm", "onnx", "remote"):
        return
    foreign = _HERE_ONLY if engine == "remote" else _REMOTE_ONLY
    if engine != "onnx":
        foreign = foreign | _ONNX_ONLY
    for name in sorted(foreign & model.keys()):
        yield f"{name} has no meaning for engine = {engine!r}"
    if engine == "remote":
        if not model.get("urls"):
            yield "urls is missing: name at least one address"
        if isinstance(key, str) and not os.environ.get(key):
            yield f"api_key_env names {key!r}, which is not set in the environment"
    elif model.get("source") is None:
        yield "source is missing: name a folder, a hub id or a package"
    if "session_header" in model and model.get("policy") != "session":
        yield "session_header has a meaning for policy = 'session' only"
    if engine == "onnx" and isinstance(tasks, list | tuple):
        yield from _onnx_misfits(tasks, model.get("moderation", {}), model.get("labels", ()))


def onnx_task(tasks: Sequence[str], *, moderates: bool) -> Task | None:
    """Say what an ONNX model is, ``None`` if its tasks do not go together."""
    for task, others in ONNX_TASKS.items():
        if task in tasks and set(tasks) <= {task, *others, *(["moderate"] if moderates else [])}:
            return task
    return None


def _onnx_misfits(tasks: Sequence[Any], moderation: Any, labels: Any) -> Iterator[str]:
    if not all(isinstance(task, str) for task in tasks):
        return
    task = onnx_task(tasks, moderates=bool(moderation))
    if "moderate" in tasks and not moderation:
        yield 'tasks has "moderate", but moderation does not say which labels fill which categories'
    elif task is None:
        yield (
            'tasks must be one of ["classify"], ["embed"], ["score"] and ["token_classify"] for engine = \'onnx\'; '
            "what follows from it may stand beside it: "
            + ", ".join(f"{task} brings {' and '.join(others)}" for task, others in ONNX_TASKS.items() if others)
        )
    elif moderation and task != "classify":
        yield "moderation needs a classifier"
    if not isinstance(moderation, Mapping) or not isinstance(labels, list | tuple) or not labels:
        return
    for category, names in moderation.items():
        unknown = [name for name in names if name not in labels] if isinstance(names, list | tuple) else []
        if unknown:
            yield f"moderation.{category} names {', '.join(map(str, unknown))}, not among labels"
