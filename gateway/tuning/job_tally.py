"""Counts fine-tuning jobs by status, for the metrics of the gateway."""

from __future__ import annotations

import asyncio

import msgspec

from engines.tuning.records import Known
from gateway.core.errors import GatewayError
from gateway.tuning.client import TuningClient

UNDER_WAY = ("validating_files", "queued", "running", "paused")
ENDED = ("succeeded", "failed", "cancelled")

_TRY_AGAIN_SECONDS = 0.5
"""Pause before a server is asked again that does not answer; its supervisor starts another."""


class JobTally:
    """The jobs of a tuning server: those ``under_way`` now, and those that have ``ended`` while this gateway ran.

    The server answers when a count has changed, so a job is counted at once, and the server is not polled.
    """

    def __init__(self, client: TuningClient) -> None:
        self._client = client
        self._known: dict[str, int] | None = None
        self.under_way = dict.fromkeys(UNDER_WAY, 0)
        self.ended = dict.fromkeys(ENDED, 0)

    def __repr__(self) -> str:
        return f"<JobTally {self.under_way} {self.ended}>"

    async def run(self) -> None:
        """Follow the server's counts, for ever. One that was started again is asked for what has changed since."""
        while True:
            try:
                answer = await self._client.post("/counts", msgspec.json.encode(Known(self._known)))
            except GatewayError:
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
            else:
                self._take(msgspec.json.decode(answer, type=dict[str, int]))

    def _take(self, counts: dict[str, int]) -> None:
        """Take over the server's counts; those of jobs that have ended are of all time, also before this gateway."""
        known = counts if self._known is None else self._known
        for status in ENDED:
            self.ended[status] += max(0, counts.get(status, 0) - known.get(status, 0))
        self.under_way = {status: counts.get(status, 0) for status in UNDER_WAY}
        self._known = counts
