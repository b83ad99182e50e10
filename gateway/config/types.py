"""The types that options of several tables share: names, durations, digests, tasks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from gateway.config.table import SECRET

EngineName = Literal["vllm", "onnx", "remote"]
ALL_ENGINES: tuple[EngineName, ...] = get_args(EngineName)

Task = Literal["generate", "embed", "classify", "token_classify", "score", "pooling", "moderate", "transcribe"]


PolicyName = Literal["least_in_flight", "least_tokens", "prefix", "round_robin", "random", "power_of_two", "session"]
ALL_POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)

ALL_TASKS: tuple[Task, ...] = get_args(Task)


ONNX_TASKS: Mapping[Task, tuple[Task, ...]] = MappingProxyType(
    {
        "classify": ("pooling",),
        "embed": ("pooling", "score"),
        "score": ("classify", "pooling"),
        "token_classify": ("pooling",),
    }
)
"""What an ONNX model is, and what it can do besides."""


HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,99}$")]


ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,199}$")]


Seconds = Annotated[float, Field(gt=0, le=86_400)]


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), SECRET]
"""Not shown where it is wrong: the key itself may stand where its digest belongs."""
