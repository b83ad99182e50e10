"""Looks at replicas and counters now and then, and keeps what the page shows of the time before now.

Requests pass nothing of this: what they are counted in exists anyway, and is read here as a scrape reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from time import monotonic, perf_counter, time
from typing import NamedTuple

from gateway.control.page.history import STEP_SECONDS, History
from gateway.control.page.journal import Decision, Journal, Kind
from gateway.control.page.readings import Reading, statuses, total
from gateway.control.scaling import TokenCounts
from gateway.control.view import PlaneView
from gateway.observe.counters import Counters, ModelMetrics
from gateway.observe.recent_errors import RequestError
from gateway.pools.pool import Load
from gateway.pools.replica import ReplicaState

_LOOK_SECONDS = 1.0
"""How often the states of replicas are looked at."""

_COUNT_SECONDS = 2.0
"""How often counters are read."""

_MANY_MODELS = 100
"""With more models than this they are read once in a step: to write down a thousand takes each process 10 ms."""

_AT_ONCE = 50
"""Models that are read without a rest, which leaves the interpreter to the data plane."""

_REST_SECONDS = 0.001

_MINUTE = 60 // STEP_SECONDS
"""Steps over which tokens per second are told, as they are counted when requests end."""

BAD_STATES = frozenset({ReplicaState.FAILING, ReplicaState.RESTARTING, ReplicaState.FAILED})
"""The states of a replica that somebody has to look at."""

UNKNOWN = "unknown"
"""What requests without a model, or for one that there is not, are counted as."""


class Seen(NamedTuple):
    """The state that a replica was seen in, and since when, as a Unix time."""

    model: str
    state: ReplicaState
    since: float


class Sampler:
    """Fills history and journal from what there is to see. ``counters`` gives what was counted so far."""

    def __init__(self, plane: PlaneView, counters: Callable[[], Counters], journal: Journal) -> None:
        self._plane = plane
        self._counters = counters
        self._journal = journal
        self.history = History()
        self.seen: dict[str, Seen] = {}
        """The replicas by their names."""
        self.rates: dict[str, Mapping[str, float | None]] = {}
        """The latest numbers of each model, as they are in its history."""
        self.all_rates: Mapping[str, float | None] = _numbers(Reading.zero(), 1.0, _NOTHING, 0)
        self.counted: Mapping[str, ModelMetrics] = {}
        """What each model has counted since the start."""
        self.errors: Sequence[RequestError] = ()
        """The latest failed requests, the oldest first."""
        self._step = _step_of(time())
        self._readings: dict[str, Reading] = {}
        """What each model had counted at the latest look."""
        self._read_at = monotonic()
        self._base: dict[str, Reading] = {}
        """What each model had counted when the step began."""
        self._base_at = self._read_at

    def __repr__(self) -> str:
        return f"<Sampler of {len(self.seen)} replicas, {self.history!r}>"

    async def run(self) -> None:
        """Look for ever."""
        while True:
            now = time()
            self.look(now)
            if monotonic() - self._read_at >= self.pause:
                await self.count(now)
            await asyncio.sleep(_LOOK_SECONDS)

    @property
    def pause(self) -> float:
        """The seconds between two readings of the counters."""
        return _COUNT_SECONDS if len(self._plane.registry.models) <= _MANY_MODELS else STEP_SECONDS

    def look(self, now: float) -> None:
        """Note which replicas came, went, or are in another state; ``now`` is a Unix time."""
        before, self.seen = self.seen, {}
        for pool in self._plane.registry.pools:
            for replica in pool.replicas:
                known = before.get(replica.name)
                if known is not None and known.state is replica.state:
                    self.seen[replica.name] = known
                    continue
                self.seen[replica.name] = Seen(pool.name, replica.state, now)
                what = f"{known.state} → {replica.state}" if known else f"added, {replica.state}"
                bad = replica.state in BAD_STATES
                self._journal.add(Decision(now, Kind.STATE, what, pool.name, replica.name, replica.reason, bad))
        for name in before.keys() - self.seen.keys():
            gone = before[name]
            self._journal.add(Decision(now, Kind.STATE, f"{gone.state} → removed", gone.model, name))

    async def count(self, now: float) -> None:
        """Read all counters, and write the step in which ``now`` lies, a Unix time."""
        await self._plane.count()
        counters = self._counters()
        by_status = statuses(counters.requests())
        models = {model.name: model for model in self._plane.registry.models}
        metrics = counters.models()
        step, moment = _step_of(now), monotonic()
        if step != self._step:
            self._step, self._base, self._base_at = step, self._readings, self._read_at
        seconds = max(moment - self._base_at, 0.001)
        readings: dict[str, Reading] = {}
        rates: dict[str, Mapping[str, float | None]] = {}
        active: list[Reading] = []
        names = iter([*models, UNKNOWN])
        while some := list(islice(names, _AT_ONCE)):
            for name in some:
                reading = Reading.of(metrics[name], by_status.get(name, {})) if name in metrics else _ZERO
                readings[name] = reading
                before, base = self._readings.get(name, _ZERO), self._base.get(name, _ZERO)
                # Most of many models are asked nothing.
                if reading != before:
                    self._note(name, reading.since(before), now)
                recent = _ZERO if reading == base else reading.since(base)
                if recent.requests or recent.refused:
                    active.append(recent)
                if name in models:
                    pool = models[name].pool
                    numbers = rates[name] = _numbers(recent, seconds, pool.load(perf_counter()), len(pool.ready))
                    self.history.write(name, step, numbers)
            await asyncio.sleep(_REST_SECONDS)
        self._readings, self._read_at = readings, moment
        self.rates, self.counted, self.errors = rates, metrics, counters.errors.latest()
        ready = sum(len(pool.ready) for pool in self._plane.registry.pools)
        self.all_rates = _numbers(total(active), seconds, self.load(), ready)
        self.history.all.write(step, self.all_rates)
        self.history.keep(models)

    def load(self) -> Load:
        """Add up what all pools have to do."""
        now = perf_counter()
        loads = [pool.load(now) for pool in self._plane.registry.pools]
        return Load(
            sum(load.running for load in loads),
            sum(load.waiting for load in loads),
            max((load.oldest_wait for load in loads), default=0.0),
            sum(load.tokens for load in loads),
        )

    def tokens(self, models: Collection[str], now: float) -> TokenCounts:
        """Tell the tokens of several models, prompts included; ``now`` is a Unix time."""
        rings = [ring for ring in map(self.history.of, models) if ring is not None]
        counted = [self.counted[name] for name in models if name in self.counted]
        requests = sum(sum(each.overhead.counts) for each in counted)
        tokens = sum(each.input_tokens + each.output_tokens for each in counted)
        step = _step_of(now)
        return TokenCounts(
            per_request=tokens / requests if requests else 0.0,
            per_second=sum(
                ring.mean(column, step, _MINUTE) for ring in rings for column in ("input_tokens", "output_tokens")
            ),
        )

    def _note(self, model: str, latest: Reading, now: float) -> None:
        """Write down what was decided about requests since the latest look."""
        decided = [
            (Kind.RETRY, "retried at another replica", latest.retried, True),
            (Kind.RETRY, "not retried, too many were", latest.over_budget, True),
            (Kind.REFUSAL, "refused, no slot in time", latest.refused, True),
            *((Kind.FALLBACK, f"asked of {to} instead", number, True) for to, number in latest.fallbacks.items()),
            *(
                (Kind.RECOVERY, f"stream whose replica died: {outcome}", number, outcome != "recovered")
                for outcome, number in latest.recoveries.items()
            ),
        ]
        for kind, what, number, bad in decided:
            if number:
                self._journal.add(Decision(now, kind, what, model, bad=bad, number=number))


_ZERO = Reading.zero()
_NOTHING = Load(0, 0, 0.0, 0)


def _step_of(now: float) -> int:
    return int(now // STEP_SECONDS)


def _numbers(recent: Reading, seconds: float, load: Load, ready: int) -> dict[str, float | None]:
    """Give what a step of history has: rates per second, gauges, and quantiles in seconds."""
    return {
        "requests": recent.requests / seconds,
        "errors": recent.errors / seconds,
        "refused": recent.refused / seconds,
        "input_tokens": recent.input_tokens / seconds,
        "output_tokens": recent.output_tokens / seconds,
        "running": load.running,
        "waiting": load.waiting,
        "ready": ready,
        "ttft_p50": recent.first_token.quantile(0.5),
        "ttft_p95": recent.first_token.quantile(0.95),
        "e2e_p50": recent.durations.quantile(0.5),
        "e2e_p95": recent.durations.quantile(0.95),
        "tpot_p50": recent.per_token.quantile(0.5),
    }
