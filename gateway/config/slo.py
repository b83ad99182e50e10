"""``[models.NAME.slo]``: how quickly a model is to answer."""

from __future__ import annotations

from pydantic import Field

from gateway.config.table import Table
from gateway.config.types import Seconds


class Slo(Table):
    """``[models.NAME.slo]``: service level objectives of a model, which its requests are found to meet or to miss."""

    ttft: Seconds | None = Field(
        None, description="Longest time to the first token of a stream, in seconds.", examples=[0.5]
    )
    tpot: Seconds | None = Field(
        None, description="Longest mean time per output token after the first, in seconds.", examples=[0.05]
    )
    e2e: Seconds | None = Field(
        None, description="Longest time from a request to the end of its response, in seconds.", examples=[10.0]
    )

    @property
    def objectives(self) -> dict[str, float]:
        """Those that there are, by name."""
        given = {"ttft": self.ttft, "tpot": self.tpot, "e2e": self.e2e}
        return {name: seconds for name, seconds in given.items() if seconds is not None}
