"""The rules that are compared: ours and those of the field.

Kubernetes' HPA (ceil(n x metric / target), 10 % tolerance, every 15 s, down after 300 s), Knative's KPA (mean of 60 s,
panic at twice the capacity within 6 s), Ray Serve's (ceil(ongoing / target) after 30 s, down after 600 s).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from gateway.scaling.decide import ScalingRule, decide, observe
from gateway.scaling.demand import DemandHistory
from loadtest.bench.elastic.fleet import Demand


class Fixed:
    """A fleet that stays as it is."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self, _seen: Demand) -> int:
        """Say how many replicas there are to be."""
        return self._number


class Ours:
    """The gateway's own rule, on what the gateway would know."""

    def __init__(self, rule: ScalingRule, start_seconds: float) -> None:
        self._rule = rule
        self._window = rule.window(start_seconds)
        self._history = DemandHistory()
        self._lowered_at = -math.inf

    def __call__(self, seen: Demand) -> int:
        """Say how many replicas there are to be."""
        history = self._history
        history.take(seen.now, running=seen.running, waiting=seen.waiting, answers=seen.answered, window=self._window)
        observation = observe(history, seen.now, replicas=seen.replicas, lowered_at=self._lowered_at)
        decided = decide(self._rule, observation).replicas
        if decided < seen.replicas:
            self._lowered_at = seen.now
        return decided


class HorizontalPodAutoscaler:
    """Kubernetes' HPA on requests per replica."""

    def __init__(self, target: float, most: int) -> None:
        self._target, self._most = target, most
        self._looked_at = -math.inf
        self._recommended: deque[tuple[float, int]] = deque()

    def __call__(self, seen: Demand) -> int:
        """Say how many replicas there are to be."""
        now, replicas = seen.now, max(1, seen.replicas)
        if now - self._looked_at < 15:
            return replicas
        self._looked_at = now
        ratio = seen.requests / self._target / replicas
        wanted = replicas if abs(ratio - 1) <= 0.1 else math.ceil(replicas * ratio)
        wanted = min(self._most, max(1, wanted))
        self._recommended.append((now, wanted))
        while self._recommended[0][0] < now - 300:
            self._recommended.popleft()
        return max(wanted, min(replicas, max(each for _, each in self._recommended)))


class KnativePodAutoscaler:
    """Knative's KPA on concurrency."""

    def __init__(self, target: float, most: int) -> None:
        self._target, self._most = target, most
        self._readings: deque[tuple[float, int]] = deque()
        self._panicked_at = -math.inf
        self._panic_replicas = 0

    def __call__(self, seen: Demand) -> int:
        """Say how many replicas there are to be."""
        now, readings = seen.now, self._readings
        readings.append((now, seen.requests))
        while readings[0][0] <= now - 60:
            readings.popleft()
        stable = self._wanted([each for _, each in readings])
        short = self._wanted([each for at, each in readings if at > now - 6])
        if short >= 2 * max(1, seen.ready):
            self._panicked_at = now
        if now - self._panicked_at < 60:
            self._panic_replicas = max(self._panic_replicas, short, seen.replicas)
            return min(self._most, max(stable, self._panic_replicas))
        self._panic_replicas = 0
        return min(self._most, stable)

    def _wanted(self, readings: Sequence[int]) -> int:
        return max(1, math.ceil(sum(readings) / len(readings) / self._target))


class RayServe:
    """Ray Serve's rule on ongoing requests."""

    def __init__(self, target: float, most: int) -> None:
        self._target, self._most = target, most
        self._differs_since: tuple[int, float] = (0, 0.0)

    def __call__(self, seen: Demand) -> int:
        """Say how many replicas there are to be."""
        now, replicas = seen.now, max(1, seen.replicas)
        wanted = min(self._most, max(1, math.ceil(seen.requests / self._target)))
        direction = (wanted > replicas) - (wanted < replicas)
        if direction != self._differs_since[0]:
            self._differs_since = (direction, now)
        if direction and now - self._differs_since[1] >= (30 if direction > 0 else 600):
            self._differs_since = (0, now)
            return wanted
        return replicas
