"""``[models.NAME.limits]``: how many requests of a model are let through, and how many may wait."""

from __future__ import annotations

from pydantic import Field

from gateway.config.table import Table
from gateway.config.types import Seconds


class ModelLimits(Table):
    """``[models.NAME.limits]``: how many requests of a model may be under way, how many may wait, and for how long."""

    max_in_flight: int | None = Field(
        None,
        gt=0,
        description="Most requests of this model, or of all that share its pool, under way; more wait in a queue. "
        "Default: no limit.",
        examples=[64],
    )
    max_tokens_in_flight: int | None = Field(
        None,
        gt=0,
        description="Most tokens that the requests under way may have together: those of the prompt, estimated as one "
        "for four bytes of the body, and `max_tokens` for each answer, or 512 where the request does not say. More "
        "wait in the queue; a request that is larger by itself runs alone. Default: no limit.",
        examples=[200_000],
    )
    max_queue: int = Field(
        1024,
        ge=0,
        description="Most requests waiting in that queue; more are refused with 503 `queue_full`. See "
        "[queueing.md](queueing.md) for its order.",
    )
    queue_timeout: Seconds | None = Field(
        None,
        description="Longest wait for a slot, in seconds; a request that is likely to wait longer is refused at once. "
        "Default: `queue` of `[gateway.timeouts]`.",
        examples=[20.0],
    )
    hold: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="How long requests wait in the queue while no replica is ready but one starts, restarts or fails "
        "its probes, in seconds; then 503 `no_ready_replica`. 0: they are refused at once.",
    )
