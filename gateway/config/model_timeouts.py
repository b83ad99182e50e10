"""``[models.NAME.timeouts]``: how long the engines of one model may take."""

from __future__ import annotations

from pydantic import Field

from gateway.config.table import Table
from gateway.config.types import Seconds


class ModelTimeouts(Table):
    """``[models.NAME.timeouts]``: how long a model's engines may take, unless ``[gateway.timeouts]`` says it."""

    connect: Seconds | None = Field(
        None,
        description="Longest wait for an engine to accept a connection, in seconds. Default, as for the others here: "
        "the value of `[gateway.timeouts]`.",
        examples=[1.0],
    )
    first_byte: Seconds | None = Field(
        None, description="Longest silence of an engine before its response, in seconds.", examples=[30.0]
    )
    between_bytes: Seconds | None = Field(
        None, description="Longest silence of an engine within its response, in seconds.", examples=[20.0]
    )
    total: Seconds | None = Field(None, description="Longest request from start to end, in seconds.", examples=[600.0])
