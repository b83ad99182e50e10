"""How many replicas a model is to have: a plain decision over what is known now.

Demand that is there is answered at once, counting replicas that start; what was needed lately is kept, for as long as
it would cost to bring it back; and the way down is one replica at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.scaling.demand import DemandHistory

_PANIC = 2.0
"""Demand of so many times what the replicas can take is answered without averaging, as Knative's panic mode does."""

_STEP_DOWN_SECONDS = 5.0

_KEEP_STARTS = 30.0
_LEAST_KEEP, _MOST_KEEP = 20.0, 900.0

Reason = Literal[
    "steady", "demand", "panic", "from_zero", "min", "max", "peak", "surplus", "idle", "evicted", "operator"
]

KEEPING: frozenset[Reason] = frozenset({"steady", "peak"})
"""The reasons for which nothing changes."""

EXPLAINED: Mapping[Reason, str] = {
    "steady": "as many as demand needs",
    "peak": "as many as demand needed lately",
    "demand": "more requests are under way than the replicas should have",
    "panic": "twice as many requests are under way as the replicas can take",
    "from_zero": "a request came while there was no replica",
    "min": "the fewest that there may be",
    "max": "the most that there may be",
    "surplus": "fewer are needed, now and lately",
    "idle": "no request came for a while",
    "evicted": "idle, and another model needs the room",
    "operator": "an operator asked for this number",
}
"""What each reason means, for people."""


@dataclass(frozen=True, slots=True)
class ScalingRule:
    """Between which numbers a model's replicas are, and what one of them is for.

    ``target`` is how many requests one replica has under way when it is well used. After ``idle`` seconds without any
    request the last replica goes too, where ``least`` is 0. ``keep`` is how long a peak is remembered, in seconds;
    ``None``: 30 times as long as a start takes, from 20 seconds to a quarter of an hour. Where an operator has
    ``fixed`` the number, it is ``least`` and ``most`` at once, and demand changes nothing.
    """

    least: int
    most: int
    target: float
    idle: float
    keep: float | None = None
    fixed: bool = False

    def window(self, start_seconds: float) -> float:
        """Give how long a peak is remembered where a replica takes so long to start, in seconds."""
        if self.keep is not None:
            return self.keep
        return min(_MOST_KEEP, max(_LEAST_KEEP, _KEEP_STARTS * start_seconds))


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a model: its replicas (those that start are counted, those that drain are not), and its demand.

    ``needed`` is how many requests should run at once now, as ``slots_needed`` gives it; ``recent`` is its mean over
    the last seconds, ``peak`` the highest such mean of the window. ``since_down`` is how long ago a replica was let go,
    ``idle_for`` how long there has been nothing to do, both in seconds.
    """

    replicas: int
    needed: float
    recent: float
    peak: float
    since_down: float
    idle_for: float


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas there are to be, and why."""

    replicas: int
    reason: Reason


def observe(history: DemandHistory, now: float, *, replicas: int, lowered_at: float) -> Observation:
    """Say what is known of a model after the latest reading; ``lowered_at`` is when a replica was let go last."""
    return Observation(
        replicas=replicas,
        needed=history.needed,
        recent=history.recent,
        peak=history.peak,
        since_down=now - lowered_at,
        idle_for=now - history.busy_at,
    )


def decide(rule: ScalingRule, seen: Observation) -> Decision:
    """Say how many replicas there are to be from now on."""
    if rule.fixed:
        return Decision(rule.least, "operator")
    now = seen.replicas
    demanded, reason = _demanded(rule, seen)
    most_wanted = max(demanded, rule.least)
    if most_wanted > now and now < rule.most:
        if demanded > rule.most:
            return Decision(rule.most, "max")
        return Decision(most_wanted, reason if demanded > now else "min")
    wanted = max(rule.least, _kept(rule, seen))
    if now > rule.most:
        return Decision(rule.most, "max")
    if now <= max(wanted, demanded):
        by_peak = math.ceil(seen.peak / rule.target) >= now > max(demanded, rule.least)
        return Decision(now, "peak" if by_peak else "steady")
    if now > 1 and seen.since_down < _STEP_DOWN_SECONDS:
        return Decision(now, "steady")
    return Decision(now - 1, "idle" if not wanted else "surplus")


def _demanded(rule: ScalingRule, seen: Observation) -> tuple[int, Reason]:
    """Say how many replicas the requests need that are here."""
    if not seen.replicas:
        return math.ceil(seen.needed / rule.target), "from_zero"
    if seen.needed > _PANIC * seen.replicas * rule.target:
        return math.ceil(seen.needed / rule.target), "panic"
    return math.ceil(seen.recent / rule.target), "demand"


def _kept(rule: ScalingRule, seen: Observation) -> int:
    """Say how many replicas are kept because they are needed, or were lately: one at least, unless there may be none.

    What was started for a burst is needed before the mean of the last seconds shows it.
    """
    if rule.least == 0 and seen.idle_for >= rule.idle:
        return 0
    return max(1, math.ceil(max(seen.needed, seen.peak) / rule.target))
