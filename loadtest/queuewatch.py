"""How many requests wait at the server: its own gauge, read once a second while a test runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from loadtest.http_client import HttpError, fetch
from loadtest.preflight import CannotBegin

GAUGES = ("headgate_requests_waiting", "vllm:num_requests_waiting")
"""The gateway's queue; or the engine's, where the load goes to an engine itself."""

_EVERY_SECONDS = 1.0


class QueueWatch:
    """Reads the gauges at ``url`` and keeps ``samples``: moments as ``clock`` gives them, and how many waited."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        parts = urlsplit(url)
        self._path = parts.path if parts.scheme != "unix" and parts.path.strip("/") else "/metrics"
        self._url = url if parts.scheme == "unix" else f"{parts.scheme}://{parts.netloc}"
        self._clock = clock
        self.samples: list[tuple[float, float]] = []
        self.failures = 0

    async def check(self) -> None:
        """Take a first sample. Raises ``CannotBegin`` if that is not possible."""
        try:
            number = waiting((await fetch(self._url, self._path)).decode())
        except (HttpError, ValueError) as error:
            raise CannotBegin(f"--metrics {self._url}{self._path} cannot be read: {error}") from error
        if number is None:
            raise CannotBegin(f"--metrics {self._url}{self._path} has neither {' nor '.join(GAUGES)}")

    async def run(self) -> None:
        """Take samples until cancelled; one that fails is counted and left out."""
        while True:
            try:
                number = waiting((await fetch(self._url, self._path)).decode())
            except (HttpError, ValueError):
                number = None
            if number is None:
                self.failures += 1
            else:
                self.samples.append((self._clock(), number))
            await asyncio.sleep(_EVERY_SECONDS)


def waiting(page: str) -> float | None:
    """Add up the first of ``GAUGES`` that is on a page of metrics; ``None``: there is none.

    Raises ``ValueError`` for lines that are not in the text format of Prometheus.
    """
    for gauge in GAUGES:
        lines = [line for line in page.splitlines() if line.startswith(gauge)]
        if lines:
            families = text_string_to_metric_families("\n".join(lines) + "\n")
            return sum(sample.value for family in families for sample in family.samples if sample.name == gauge)
    return None
