"""How a model is scaled, as operators see it, and the order to have another number of replicas."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Annotated, Any, NamedTuple, get_args

import msgspec

from gateway.pools.pool import Pool
from gateway.pools.replica import ReplicaState
from gateway.scaling.decide import EXPLAINED, KEEPING, Reason
from gateway.scaling.scaler import ScaledModel

_ON_THE_WAY = (ReplicaState.FETCHING, ReplicaState.STARTING)

_STUCK = (ReplicaState.PENDING, ReplicaState.RESTARTING, ReplicaState.FAILED, ReplicaState.FAILING)
"""The states of a replica that is counted as one, and of no use for now."""


class ScaleOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /models/NAME/scale``: have so many ``replicas``; ``null``: as the configuration says."""

    replicas: Annotated[int, msgspec.Meta(ge=0, le=64)] | None


class TokenCounts(NamedTuple):
    """Tokens of a model and its adapters, of prompts and of responses, as engines report them of requests that ended.

    ``per_request`` is the mean since the start of those that an engine was asked for, ``per_second`` what was served in
    the last minute.
    """

    per_request: float
    per_second: float


def scaling_of(model: ScaledModel, tokens: TokenCounts) -> Mapping[str, Any]:
    """Show by which rule a model is scaled, what it has to do, what was decided and why, and what is waited for."""
    rule, pool, observed = model.rule, model.pool, model.observation
    load = pool.load(perf_counter())
    states = [replica.state for replica in pool.replicas]
    return {
        "min": rule.least,
        "max": rule.most,
        "target": None if rule.fixed else rule.target,
        "fixed": rule.fixed,
        "desired": model.desired,
        "ready": len(pool.ready),
        "starting": sum(state in _ON_THE_WAY for state in states),
        "draining": states.count(ReplicaState.DRAINING),
        "asleep": states.count(ReplicaState.ASLEEP),
        "states": {state: states.count(state) for state in ReplicaState},
        "demand": load.running + load.waiting,
        "recent_demand": round(observed.recent, 2) if observed else 0.0,
        "peak_demand": round(observed.peak, 2) if observed else 0.0,
        "keep_seconds": round(model.keep_seconds, 1),
        "arrival_rate": round(model.history.arrival_rate, 3),
        "tokens_demanded": round(model.history.arrival_rate * tokens.per_request, 1),
        "tokens_served": round(tokens.per_second, 1),
        "tokens_in_flight": load.tokens,
        "oldest_wait": round(load.oldest_wait, 1),
        "held": 0 if pool.ready else load.waiting,
        "start_seconds": None if model.start_seconds is None else round(model.start_seconds, 1),
        "reason": model.reason,
        "explanation": EXPLAINED["operator" if rule.fixed else model.reason],
        "waits_for": _waits_for(model, pool),
        "contested": model.contested,
        "decisions_by_reason": {each: model.decisions[each] for each in get_args(Reason) if each not in KEEPING},
        "decisions": [
            {"at": each.at, "from": each.before, "to": each.after, "reason": each.reason}
            for each in reversed(list(model.changes))
        ],
    }


def _waits_for(model: ScaledModel, pool: Pool) -> str:
    """Say why there are fewer ready replicas than desired; nothing where there are as many."""
    if len(pool.ready) >= model.desired:
        return ""
    stuck = [
        f"{each.name} is {each.state}: {each.reason or 'no more is known'}"
        for each in pool.replicas
        if each.state in _STUCK
    ]
    starting = [each.name for each in pool.replicas if each.state in _ON_THE_WAY]
    usual = "" if model.start_seconds is None else f", which took {model.start_seconds:.3g} s the last time"
    # What was waited for at the latest look may not be wanted any more.
    wanted = len(pool.ready) + len(stuck) + len(starting) < model.desired
    room = [f"room for one more: {model.waits_for}"] if model.waits_for and wanted else []
    return "; ".join([*room, *stuck, *([f"{', '.join(starting)} to start{usual}"] if starting else [])])
