"""What a pool has had to do lately: its demand, averaged over seconds and remembered by its peaks."""

from __future__ import annotations

from collections import deque

_AVERAGE_SECONDS = 3.0
"""A burst that is over sooner needs no replica of its own."""

_SERVICE_SECONDS = 60.0
"""Over how long the time in service is measured."""

_BACKLOG_SECONDS = 10.0
"""Within this time those that wait are to be served. A backlog of short requests needs few replicas for that."""

_LEAST_SERVICE_SECONDS = 0.1
"""What is assumed of requests that are shorter: readings are so far apart, and may find none of them running."""


def slots_needed(running: int, waiting: int, service_time: float | None) -> float:
    """Give how many requests have to run at once so that those that wait are served soon.

    One that waits needs a slot for ``service_time`` seconds, which may be a small part of the time that there is, but
    never nothing: a request that waits alone needs a replica, however short those before it were.
    """
    share = 1.0 if service_time is None else min(1.0, max(_LEAST_SERVICE_SECONDS, service_time) / _BACKLOG_SECONDS)
    return running + waiting * share


class DemandHistory:
    """Remembers the demand of a pool, in requests; ``now`` is in seconds, and never falls.

    ``recent`` is the mean of the last seconds. ``peak`` is the highest such mean of the last ``window`` seconds. Both
    cost the same, however many readings there are.
    """

    def __init__(self) -> None:
        self._readings: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._peaks: deque[tuple[float, float]] = deque()
        """Moments and means, each higher than all that follow: the first is the highest."""
        self._work: deque[tuple[float, float, int, int]] = deque()
        """Moments, with seconds of service, requests answered, and requests that have come, all since the start."""
        self._served_seconds = 0.0
        self.needed = self.recent = 0.0
        self.busy_at = 0.0
        """When there was something to do for the last time, or the first reading was taken."""

    def __repr__(self) -> str:
        return f"<DemandHistory [{self.recent:.1f} now, {self.peak:.1f} at most]>"

    @property
    def peak(self) -> float:
        """The highest demand that is remembered."""
        return self._peaks[0][1] if self._peaks else 0.0

    def take(self, now: float, *, running: int, waiting: int, answers: int, window: float, provided: int = 0) -> None:
        """Take a reading of what there is to do, and of the requests that were ever answered.

        Of those that run so many are ``provided`` for already, and need nothing.
        """
        self.served(now, running, answers, waiting)
        self.needed = slots_needed(max(0, running - provided), waiting, self.service_time)
        self.record(now, self.needed, window)

    def record(self, now: float, demand: float, window: float) -> None:
        """Take a reading, and forget peaks that are older than ``window`` seconds."""
        if demand or not self._peaks:
            self.busy_at = now
        readings = self._readings
        readings.append((now, demand))
        self._sum += demand
        while readings[0][0] <= now - _AVERAGE_SECONDS:
            self._sum -= readings.popleft()[1]
        if self.busy_at <= now - _AVERAGE_SECONDS:
            # All readings are 0, so what is left of the sum is what adding and subtracting fractions was rounded by.
            self._sum = 0.0
        self.recent = self._sum / len(readings)
        peaks = self._peaks
        while peaks and peaks[-1][1] <= self.recent:
            peaks.pop()
        peaks.append((now, self.recent))
        while peaks[0][0] < now - window:
            peaks.popleft()

    def served(self, now: float, running: int, answers: int, waiting: int = 0) -> None:
        """Take a reading of the requests that are here and of those that were ever answered, for what is measured."""
        work = self._work
        if work:
            self._served_seconds += running * (now - work[-1][0])
        work.append((now, self._served_seconds, answers, answers + running + waiting))
        while work[0][0] < now - _SERVICE_SECONDS and len(work) > 2:
            work.popleft()

    @property
    def service_time(self) -> float | None:
        """How long a request runs on average, in seconds, by Little's law; ``None`` while none has been answered."""
        if len(self._work) < 2:
            return None
        (_, seconds, answers, _), (_, latest, answered, _) = self._work[0], self._work[-1]
        return (latest - seconds) / (answered - answers) if answered > answers else None

    @property
    def arrival_rate(self) -> float:
        """How many requests came per second in the last minute, but for those that failed or were refused."""
        if len(self._work) < 2:
            return 0.0
        (since, _, _, before), (now, _, _, come) = self._work[0], self._work[-1]
        return max(0, come - before) / (now - since) if now > since else 0.0
