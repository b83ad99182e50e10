"""``[models.NAME.guard]``: which model looks at the requests for another, and what it keeps from it."""

from __future__ import annotations

from pydantic import Field

from gateway.config.table import Table
from gateway.config.types import ModelName


class GuardTable(Table):
    """``[models.NAME.guard]``: a classifier that looks at each request before an engine of this model is asked."""

    model: ModelName = Field(
        description="The guard: a model of this file that can do `classify`.", examples=["prompt-guard"]
    )
    block: tuple[str, ...] = Field(
        min_length=1,
        description="The guard's labels that are blocked with 400 `content_filter`.",
        strict=False,
        examples=[["injection"]],
    )
    threshold: float = Field(0.5, gt=0, le=1, description="The probability from which such a label is blocked.")
