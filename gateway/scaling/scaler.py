"""Has as many replicas of each model as its demand needs: looks at all pools, decides, and says why.

There is one scaler in a node, in the process that starts the engines. It reads what pools count anyway, so no request
is touched by it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import time
from typing import NamedTuple, Protocol

from gateway.pools.pool import Load, Pool
from gateway.pools.replica import Replica
from gateway.scaling.decide import EXPLAINED, Decision, Observation, Reason, ScalingRule, decide, observe
from gateway.scaling.demand import DemandHistory
from gateway.scaling.eviction import Holdings, Idle, Room, make_room

_USUAL_START_SECONDS = 40.0
"""What is assumed of a start before the first: vLLM with a small model."""

_CHANGES_KEPT = 20


class Engines(Protocol):
    """What starts and stops replicas."""

    def scale(self, numbers: Mapping[str, int], giving_way: Collection[str] = ()) -> None:
        """Have so many replicas of these models from now on, the first of them first where there is little room.

        Of those that are too many the replicas go first that are ``giving_way``.
        """

    def number(self, model: str) -> int:
        """Tell how many replicas of a model there are, without those on their way out."""

    def start_seconds(self, model: str) -> float | None:
        """Tell how long the last start of a replica, or its waking, took; ``None`` before the first."""

    def waits_for(self, model: str) -> str:
        """Say what a replica that is missing waits for; nothing where none is missing."""

    def room(self) -> Room:
        """Tell what there is for more replicas, now or when those have gone that are on their way out."""

    def holdings(self, model: str) -> Holdings:
        """Tell what the replicas of a model have, and what one more would take."""


Told = Callable[[str, str, str], None]
"""Called with a model, with what was decided for it or what it waits for, and with the reason."""


class Change(NamedTuple):
    """One change of the number of desired replicas. ``at`` is a Unix time."""

    at: float
    before: int
    after: int
    reason: Reason


@dataclass(eq=False, slots=True)
class ScaledModel:
    """A model whose replicas follow its demand: its rule, its pool, and what was decided."""

    name: str
    rule: ScalingRule
    pool: Pool
    desired: int
    history: DemandHistory = field(default_factory=DemandHistory)
    decisions: Counter[Reason] = field(default_factory=Counter)
    """How often the number of replicas was changed, by the reason."""
    changes: deque[Change] = field(default_factory=lambda: deque(maxlen=_CHANGES_KEPT))
    """The latest changes, the oldest first."""
    reason: Reason = "steady"
    """Why it is what it is."""
    observation: Observation | None = None
    """What the latest decision was taken by; ``None`` before the first."""
    waits_for: str = ""
    """What a replica that is desired and has not been started waits for."""
    contested: bool = False
    """Whether another gateway on this machine scales it too."""
    missing_since: float = inf
    """Since when there are fewer replicas than desired; infinity while there are not."""
    lowered_at: float = -inf
    start_seconds: float | None = None
    """How long the last start, or waking, took until the replica was ready."""
    answers: int = 0
    """Requests ever answered, also by replicas that have gone."""
    seen: dict[Replica, int] = field(default_factory=dict)

    @property
    def keep_seconds(self) -> float:
        """For how long a peak is remembered."""
        return self.rule.window(self.start_seconds or _USUAL_START_SECONDS)

    @property
    def finishing(self) -> int:
        """At zero, how many requests run at replicas that leave when they have finished them: they need no other."""
        return 0 if self.desired else sum(each.in_flight for each in self.pool.draining)

    def count_answers(self) -> None:
        """Add up what was answered; a replica that goes takes only its own count with it."""
        latest = {replica: replica.answers for replica in self.pool.replicas}
        self.answers += sum(max(0, answers - self.seen.get(replica, 0)) for replica, answers in latest.items())
        self.seen = latest


class Scaler:
    """The models whose replicas follow their demand, or what an operator has asked for.

    ``told`` hears of each change, and of a replica that cannot be started yet.
    """

    def __init__(self, engines: Engines, told: Told) -> None:
        self._engines = engines
        self._told = told
        self._models: dict[str, ScaledModel] = {}
        self._now = -inf
        """When it looked last."""

    def __repr__(self) -> str:
        return f"<Scaler [{', '.join(f'{name}: {each.desired}' for name, each in self._models.items())}]>"

    @property
    def models(self) -> Mapping[str, ScaledModel]:
        """The models that are scaled, with what was decided for them."""
        return self._models

    def apply(self, rules: Mapping[str, ScalingRule], pools: Mapping[str, Pool]) -> None:
        """Go by these rules from now on; what is known of a model stays, and so do its replicas within its bounds."""
        known = self._models
        self._models = {
            name: known.get(name) or ScaledModel(name, rule, pools[name], self._first(name, rule))
            for name, rule in rules.items()
        }
        for name, model in self._models.items():
            model.rule, model.pool = rules[name], pools[name]
            bounded = min(model.rule.most, max(model.rule.least, model.desired))
            if bounded != model.desired:
                bound: Reason = "min" if bounded > model.desired else "max"
                self._carry_out(model, Decision(bounded, "operator" if model.rule.fixed else bound))
        self._scale()

    def scale_to_zero(self, name: str) -> None:
        """Let all replicas of a model go, because an operator asked for it; the next request starts one."""
        model = self._models[name]
        if model.desired:
            self._carry_out(model, Decision(0, "operator"))
            self._scale()

    def tick(self, now: float) -> None:
        """Look at every model and have as many replicas as it needs; ``now`` is a ``perf_counter`` reading."""
        self._now = now
        changes = [self._decide(model, now) for model in self._models.values()]
        missing = self._missing(now)
        if any(changes):
            self._scale()
        elif giving_way := self._make_room(missing):
            self._scale(giving_way)
        self._note_waiting(missing)

    def _first(self, name: str, rule: ScalingRule) -> int:
        """Say how many replicas a model has when it is scaled for the first time."""
        return self._engines.number(name) if rule.fixed else rule.least

    def _missing(self, now: float) -> Sequence[ScaledModel]:
        """Find the models that have fewer replicas than they should, the one first that has waited for the longest."""
        for model in self._models.values():
            is_missing = self._engines.number(model.name) < model.desired
            model.missing_since = min(now, model.missing_since) if is_missing else inf
        return [model for model in self._in_line() if model.missing_since < inf]

    def _in_line(self) -> Sequence[ScaledModel]:
        """Give all models, those first that have waited longest for a replica."""
        return sorted(self._models.values(), key=lambda each: each.missing_since)

    def _make_room(self, missing: Iterable[ScaledModel]) -> Sequence[str]:
        """Let replicas of idle models go where another model misses one that there is no room for; name them."""
        waiting = [
            (model.name, self._engines.holdings(model.name).ways)
            for model in missing
            for number in range(self._engines.number(model.name), model.desired)
            # What was needed lately is no reason to take anything from others.
            if model.history.recent or number < model.rule.least
        ]
        if not waiting or (eviction := make_room(waiting, self._engines.room(), self._idle())) is None:
            return ()
        for name, going in eviction.going.items():
            left = len(self._engines.holdings(name).replicas) - len(going)
            self._carry_out(self._models[name], Decision(left, "evicted"), f": {eviction.beneficiary}")
        return [name for going in eviction.going.values() for name in going]

    def _idle(self) -> Sequence[Idle]:
        """List the models that have nothing to do and more replicas than they must."""
        idle = []
        for model in self._models.values():
            if model.desired > model.rule.least and not model.history.recent:
                replicas = self._engines.holdings(model.name).replicas
                may_go = max(0, len(replicas) - model.rule.least)
                idle.append(Idle(model.name, model.history.busy_at, replicas, may_go))
        return idle

    def _note_waiting(self, missing: Iterable[ScaledModel]) -> None:
        """Find out what the replicas wait for that are missing, and tell of it once."""
        waits = {model.name: self._engines.waits_for(model.name) for model in missing}
        for name, model in self._models.items():
            before, model.waits_for = model.waits_for, waits.get(name, "")
            if model.waits_for and not before:
                self._told(name, "no room for a replica", model.waits_for)

    def _decide(self, model: ScaledModel, now: float) -> bool:
        model.start_seconds = self._engines.start_seconds(model.name)
        model.observation = self._observe(model, model.pool.load(now), now)
        decision = decide(model.rule, model.observation)
        model.reason = decision.reason
        if decision.replicas == model.desired:
            return False
        self._carry_out(model, decision)
        return True

    def _carry_out(self, model: ScaledModel, decision: Decision, detail: str = "") -> None:
        before, model.desired, model.reason = model.desired, decision.replicas, decision.reason
        if decision.replicas < before:
            model.lowered_at = self._now
        model.decisions[decision.reason] += 1
        model.changes.append(Change(time(), before, decision.replicas, decision.reason))
        why = f"{decision.reason}: {EXPLAINED[decision.reason]}{detail}"
        self._told(model.name, f"{before} → {decision.replicas} replicas", why)

    def _observe(self, model: ScaledModel, load: Load, now: float) -> Observation:
        history = model.history
        model.count_answers()
        history.take(
            now,
            running=load.running,
            waiting=load.waiting,
            answers=model.answers,
            window=model.keep_seconds,
            provided=model.finishing,
        )
        return observe(history, now, replicas=model.desired, lowered_at=model.lowered_at)

    def _scale(self, giving_way: Collection[str] = ()) -> None:
        self._engines.scale({model.name: model.desired for model in self._in_line()}, giving_way)
