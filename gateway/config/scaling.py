"""``[models.NAME.scaling]``: between which numbers the replicas of a model are, and what they follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from gateway.config.table import Mistake, Table
from gateway.config.types import Seconds


class ScalingTable(Table):
    """``[models.NAME.scaling]``: replicas that are started and stopped here as demand comes and goes."""

    min: int = Field(
        1,
        ge=0,
        le=64,
        description="Fewest replicas. 0: the last one is stopped too when nothing was asked for `idle` seconds; the "
        "next request starts one, and waits for it up to `hold`.",
    )
    max: int = Field(ge=1, le=64, description="Most replicas.", examples=[4])
    target: float = Field(
        8.0,
        gt=0,
        le=100_000,
        description="How many requests one replica has under way when it is well used. Replicas are added when there "
        "are more, counting those that wait.",
    )
    idle: Seconds = Field(
        300.0, description="min = 0: after how long without a request the last replica is stopped, in seconds."
    )
    keep: Seconds | None = Field(
        None,
        description="For how long replicas are kept that were needed lately, in seconds. Default: 30 times as long as "
        "a start takes, from 20 seconds to a quarter of an hour.",
        examples=[300.0],
    )
    sleep_level: int | None = Field(
        None,
        ge=1,
        le=2,
        description="For vllm on GPUs of this machine: replicas that are not needed sleep at this level of vLLM's "
        "sleep mode instead of being stopped, and give up their GPUs until they are woken. At 1 the weights go to the "
        "memory of the machine, at 2 they are read from their files again. See "
        "[scaling.md](scaling.md#let-replicas-sleep).",
        examples=[1],
    )

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find bounds that contradict each other, and an option without effect."""
        least, most = given.get("min", 1), given.get("max")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield Mistake(("min",), f"is {least}, more than max = {most}")
        if "idle" in given and least != 0:
            yield Mistake(("idle",), "has a meaning for min = 0 only")
        if given.get("sleep_level") is not None and least == most:
            yield Mistake(("sleep_level",), f"has no effect with min = max = {most}: no replica is ever let go")
