"""What options of one table mean together, and what single ones mean to what is outside the file.

These work on values as they were given, which may be wrong by themselves: so all mistakes can be told at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.config.table import Mistake, plain
from gateway.config.types import ONNX_TASKS, Task


def onnx_task(tasks: Sequence[str], *, moderates: bool) -> Task | None:
    """Say what an ONNX model is, ``None`` if its tasks do not go together."""
    for task, others in ONNX_TASKS.items():
        if task in tasks and set(tasks) <= {task, *others, *(["moderate"] if moderates else [])}:
            return task
    return None


def onnx_mistakes(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find tasks, labels and moderation categories of an ONNX model that do not go together."""
    tasks, moderation = given.get("tasks", ()), given.get("moderation", {})
    if not isinstance(tasks, list | tuple) or not all(isinstance(task, str) for task in tasks):
        return
    task = onnx_task(tasks, moderates=bool(moderation))
    if "moderate" in tasks and not moderation:
        yield Mistake(("tasks",), 'has "moderate", but moderation does not say which labels fill which categories')
    elif task is None:
        yield Mistake(
            ("tasks",),
            'must be one of ["classify"], ["embed"], ["score"] and ["token_classify"] for engine = "onnx"; '
            "what follows from it may stand beside it: "
            + ", ".join(f"{task} brings {' and '.join(others)}" for task, others in ONNX_TASKS.items() if others),
        )
    elif moderation and task != "classify":
        yield Mistake(("moderation",), 'needs a classifier: tasks = ["classify"]')
    yield from _unknown_labels(moderation, given.get("labels", ()))


def sleep_mistakes(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find what keeps replicas from sleeping, as far as it stands in the table of their model."""
    at = ("scaling", "sleep_level")
    engine = given.get("engine")
    if engine != "vllm":
        yield Mistake(at, f"is for engine = 'vllm', not {engine!r}, whose servers cannot sleep; leave it out")
    elif given.get("placement") == "ray":
        yield Mistake(at, "is for replicas on this machine, not for placement = 'ray'; leave it out")
    elif given.get("gpus") == 0:
        yield Mistake(at, "needs GPUs, but gpus is 0: on the CPU vLLM cannot sleep; leave it out, or give gpus")


def weight_mistakes(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find weights of addresses that are not there, or that leave none to be asked."""
    urls, weights = given.get("urls", ()), plain(given, "weights")
    if not isinstance(urls, list | tuple):
        return
    for number, url in enumerate(weights, start=1):
        if url not in urls:
            yield Mistake(("weights",), f"its address no. {number} is not among urls, written as there")
    alone = urls and given.get("discover") is None
    if alone and all(isinstance(url, str) and weights.get(url, 1) == 0 for url in urls):
        yield Mistake(("weights",), "are all 0, so that nothing would be asked; give one address more, or remove it")


def timeouts_amiss(given: Mapping[str, Any], total: float) -> Iterator[Mistake]:
    """Find parts of a request that may take longer than the whole of it, which is ``total`` seconds."""
    for name in ("connect", "first_byte", "between_bytes"):
        seconds = given.get(name)
        if isinstance(seconds, int | float) and seconds > total:
            yield Mistake((name,), f"is longer than a whole request may take, which is total = {total:g} s")


def key_in_environment(variable: str) -> str:
    """Read an API key, without the white space around it, which files and shells add.

    Raises ``ValueError``, without the key, if it is not there or could not be a header's value.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise ValueError("expected the name of an environment variable, which holds the key")
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"names {variable!r}, which is not set in the environment, or empty")
    if not is_visible_ascii(key):
        raise ValueError(f"names {variable!r}, whose value cannot be sent: expected visible ASCII characters only")
    return key


def is_visible_ascii(text: str) -> bool:
    """Whether a text is a single word of a header line (RFC 9110, 5.5)."""
    return re.fullmatch(r"[!-~]+", text) is not None


def _unknown_labels(moderation: Any, labels: Any) -> Iterator[Mistake]:
    """Find labels of moderation categories that the model does not have, where its labels are named."""
    if not isinstance(moderation, Mapping) or not isinstance(labels, list | tuple) or not labels:
        return
    for category, names in moderation.items():
        unknown = [name for name in names if name not in labels] if isinstance(names, list | tuple) else []
        if unknown:
            yield Mistake(("moderation", category), f"names {', '.join(map(str, unknown))}, not among labels")
