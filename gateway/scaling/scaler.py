"""Has as many replicas of each model as its demand needs: looks at all pools, decides, and says why.

There is one scaler in a node, in the process that starts the engines. It reads what pools count anyway, so no request
is touched by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.pools.pool import Load, Pool
from gateway.pools.replica import Replica
from gateway.scaling.decide import Decision, Observation, Reason, ScalingRule, decide, observe
from gateway.scaling.demand import DemandHistory

_USUAL_START_SECONDS = 40.0
"""What is assumed of a start before the first: vLLM with a small model."""


class Engines(Protocol):
    """What starts and stops replicas."""

    def scale(self, numbers: Mapping[str, int]) -> None:
        """Have so many replicas of these models from now on."""

    def number(self, model: str) -> int:
        """Tell how many replicas of a model there are, without those on their way out."""

    def start_seconds(self, model: str) -> float | None:
        """Tell how long the last start of a replica took; ``None`` before the first."""

    @property
    def leaving(self) -> int:
        """How many replicas are on their way out, whose room will be free."""


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
    reason: Reason = "steady"
    """Why it is what it is."""
    lowered_at: float = float("-inf")
    start_seconds: float | None = None
    """How long the last start took until the replica was ready."""
    answers: int = 0
    """Requests ever answered, also by replicas that have gone."""
    seen: dict[Replica, int] = field(default_factory=dict)

    def count_answers(self) -> None:
        """Add up what was answered; a replica that goes takes only its own count with it."""
        latest = {replica: replica.answers for replica in self.pool.replicas}
        self.answers += sum(max(0, answers - self.seen.get(replica, 0)) for replica, answers in latest.items())
        self.seen = latest


class Scaler:
    """The models whose replicas follow their demand.

    ``changed`` is told of each change: the model, how many replicas it had, and what was decided.
    """

    def __init__(self, engines: Engines, changed: Callable[[ScaledModel, int, Decision], None]) -> None:
        self._engines = engines
        self._changed = changed
        self._models: dict[str, ScaledModel] = {}

    def __repr__(self) -> str:
        return f"<Scaler [{', '.join(f'{name}: {each.desired}' for name, each in self._models.items())}]>"

    @property
    def models(self) -> Collection[ScaledModel]:
        """The models that are scaled, with what was decided for them."""
        return self._models.values()

    def apply(self, rules: Mapping[str, ScalingRule], pools: Mapping[str, Pool]) -> None:
        """Go by these rules from now on; what is known of a model stays, and so do its replicas within its bounds."""
        models = {}
        for name, rule in rules.items():
            model = self._models.get(name) or ScaledModel(name, rule, pools[name], rule.least)
            model.rule, model.pool = rule, pools[name]
            model.desired = min(rule.most, max(rule.least, model.desired))
            models[name] = model
        self._models = models
        self._scale()

    def tick(self, now: float) -> None:
        """Look at every model and have as many replicas as it needs; ``now`` is a ``perf_counter`` reading."""
        changes = [self._decide(model, now) for model in self._models.values()]
        if any(changes) or self._make_room(now):
            self._scale()

    def _make_room(self, now: float) -> bool:
        """Let a replica of an idle model go where another model misses one that there is no room for."""
        missing = any(self._engines.number(name) < model.desired for name, model in self._models.items())
        if not missing or self._engines.leaving:
            return False
        idle = [each for each in self._models.values() if each.desired > each.rule.least and not each.history.recent]
        if not idle:
            return False
        model = min(idle, key=lambda each: each.history.busy_at)
        self._carry_out(model, Decision(model.desired - 1, "evicted"), now)
        return True

    def _decide(self, model: ScaledModel, now: float) -> bool:
        model.start_seconds = self._engines.start_seconds(model.name)
        load = model.pool.load(now)
        decision = decide(model.rule, self._observation(model, load, now))
        model.reason = decision.reason
        if decision.replicas == model.desired:
            return False
        self._carry_out(model, decision, now)
        return True

    def _carry_out(self, model: ScaledModel, decision: Decision, now: float) -> None:
        before, model.desired, model.reason = model.desired, decision.replicas, decision.reason
        if decision.replicas < before:
            model.lowered_at = now
        model.decisions[decision.reason] += 1
        self._changed(model, before, decision)

    def _observation(self, model: ScaledModel, load: Load, now: float) -> Observation:
        history = model.history
        model.count_answers()
        window = model.rule.window(model.start_seconds or _USUAL_START_SECONDS)
        history.take(now, running=load.running, waiting=load.waiting, answers=model.answers, window=window)
        return observe(history, now, replicas=model.desired, lowered_at=model.lowered_at)

    def _scale(self) -> None:
        self._engines.scale({name: model.desired for name, model in self._models.items()})
