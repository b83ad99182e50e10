"""``[models.NAME.canary]``: which model is tried out with a share of the requests for another."""

from __future__ import annotations

from pydantic import Field

from gateway.config.table import Table
from gateway.config.types import HeaderName, ModelName


class CanaryTable(Table):
    """``[models.NAME.canary]``: another model that answers a share of the requests for this one."""

    model: ModelName = Field(
        description="The model of this file, or the adapter of one, that gets the share.", examples=["chat-v2"]
    )
    weight: float = Field(ge=0, le=100, description="How many of 100 requests it gets.", examples=[5.0])
    session_header: HeaderName = Field(
        "x-session-id",
        description="The header that names a request's session, whose requests all go to the same model. Without it "
        "the session is the body's `prompt_cache_key`, else its `user`.",
    )
