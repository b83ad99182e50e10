"""The types that options of several tables share: names, durations, digests, tasks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, StringConstraints

from gateway.config.table import SECRET


def _day(value: object) -> object:
    """Read a date of TOML, or one written as text, which is what it is on the way to another process."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("expected a date, for example 2030-01-31") from None


Day = Annotated[date, BeforeValidator(_day)]


EngineName = Literal["vllm", "onnx", "remote"]

Placement = Literal["local", "ray"]
ALL_ENGINES: tuple[EngineName, ...] = get_args(EngineName)

Task = Literal[
    "generate", "embed", "classify", "token_classify", "score", "pooling", "moderate", "transcribe", "suggest"
]


PolicyName = Literal["least_in_flight", "least_tokens", "prefix", "round_robin", "random", "power_of_two", "session"]
ALL_POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)

ALL_TASKS: tuple[Task, ...] = get_args(Task)


ONNX_TASKS: Mapping[Task, tuple[Task, ...]] = MappingProxyType(
    {
        "classify": ("pooling",),
        "embed": ("pooling", "score", "suggest"),
        "score": ("classify", "pooling"),
        "token_classify": ("pooling",),
    }
)
"""What an ONNX model is, and what it can do besides."""


Endpoint = Literal[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/suggest",
    "/classify",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/pooling",
    "/tokenize",
    "/detokenize",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
]
"""The paths that engines answer, as ``gateway.api.routes`` has them."""


HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,99}$")]


KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""What a key is called, or a group of keys."""


ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,199}$")]


Seconds = Annotated[float, Field(gt=0, le=86_400)]


Weight = Annotated[float, Field(ge=0, le=1_000_000)]
"""What share something gets, beside others."""


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), SECRET]
"""Not shown where it is wrong: the key itself may stand where its digest belongs."""
