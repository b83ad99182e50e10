"""What the data plane counts, as it happens: plain Python numbers, written by its one thread.

One locked Prometheus child costs as much as the rest of a request's bookkeeping; so ``exposition`` turns these numbers
into metrics when the control plane is scraped. Reading copies each dictionary in one step, so a scrape sees every
counter whole, if not all of them at one instant.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time
from typing import NamedTuple

import msgspec

from gateway.batches.counts import BatchCounts
from gateway.core.context import BATCH, RequestContext
from gateway.files.store import FileCounts
from gateway.http.wire_counts import WireCounts
from gateway.observe.recent_errors import RecentErrors, RequestError

_TENTHS_OF_A_DECADE = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
"""Renard's series R10 (ISO 3): each is about 1.26 times the one before."""


def _finely(first: float, last: float) -> tuple[float, ...]:
    """Give bounds in seconds so close to each other that a quantile is read from them within 10 %."""
    decades = ((number, exponent) for exponent in range(-3, 3) for number in _TENTHS_OF_A_DECADE)
    bounds = (float(f"{number}e{exponent}") for number, exponent in decades)
    return tuple(bound for bound in bounds if first <= bound <= last)


DURATION_BOUNDS = (0.001, 0.0025, 0.005, *_finely(0.01, 20.0), 30.0, 60.0, 120.0, 300.0, 600.0)
_FIRST_TOKEN = (0.001, 0.0025, 0.005, *_finely(0.01, 10.0), 20.0, 30.0, 60.0)
_PER_TOKEN = (0.001, 0.0025, *_finely(0.005, 0.2), 0.5, 1.0)
_QUEUE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_OVERHEAD = (0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_NUMBERS = (
    "admitted",
    "queued",
    "held",
    "refused",
    "shed",
    "queue_timeouts",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
)
"""The fields of ``ModelMetrics`` that are plain numbers."""


_OBJECTIVES = ("ttft", "tpot", "e2e")
"""What an objective of a model may be about."""
LEASES = (
    "requests",
    "slots",
    "shared_slots",
    "slot_tokens",
    "queue_places",
    "shared_queue_places",
    "tokens_in_flight",
    "in_flight",
)
"""What requests hold and is counted: ``shared`` is what other processes see of it."""


class ZeroDict(dict[str, int]):
    """Numbers that begin at zero; a ``collections.Counter`` takes twice as long for each one more."""

    def __missing__(self, _name: str) -> int:
        return 0


class Exemplar(NamedTuple):
    """One observation of a bucket, with the trace of its request; ``at`` is a Unix time in seconds."""

    trace_id: str
    value: float
    at: float


# Two dataclasses, because they change with each request: to set a field of a msgspec.Struct takes four times as long.
@dataclass(slots=True)
class Histogram:
    """Counts of observations per bucket; ``bounds`` are upper limits in seconds, the last bucket has none."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0
    exemplars: dict[int, Exemplar] | None = None
    """The latest observation of a traced request in each bucket, by the bucket's place; ``None`` before the first."""

    @classmethod
    def of(cls, bounds: tuple[float, ...]) -> Histogram:
        """Begin to count."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def exemplify(self, value: float, trace_id: str, at: float) -> None:
        """Let a traced request, whose value was observed at that Unix time, stand for its bucket."""
        if self.exemplars is None:
            self.exemplars = {}
        self.exemplars[bisect_left(self.bounds, value)] = Exemplar(trace_id, value, at)

    def add(self, other: Histogram) -> None:
        """Count what another histogram with the same bounds has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
        for bucket, exemplar in (other.exemplars or {}).items():
            mine = self.exemplars = self.exemplars or {}
            if bucket not in mine or mine[bucket].at < exemplar.at:
                mine[bucket] = exemplar


@dataclass(slots=True)
class ModelMetrics:
    """What is counted for one model over all of its requests."""

    durations: dict[str, Histogram]
    first_token: Histogram
    per_token: Histogram
    queue: Histogram
    overhead: Histogram
    aborts: dict[str, int]
    attempts: dict[str, dict[str, int]]
    """Attempts at each replica, by their outcome: ``ok``, ``failed``, ``full``, ``timeout`` or ``aborted``. Those are
    ``ZeroDict`` where attempts are counted; what came from another process is only added."""
    retries: dict[str, int]
    """Failed attempts that another replica might better: ``retried``, left ``over_budget``, or ``held`` until one is
    ready."""
    recoveries: dict[str, int]
    """Streams whose replica died after tokens were sent, by how they ended: ``recovered``, ``failed`` at the next
    replicas too, ``ineligible``, without another ``no_replica``, ``over_budget``, or ``aborted`` meanwhile."""
    fallbacks: dict[str, int]
    """How often another model was asked instead, by its name."""
    slo_met: dict[str, int]
    slo_missed: dict[str, int]
    """Requests that kept to an objective of the model, or did not: ``ttft``, ``tpot`` or ``e2e``."""
    # What nearly every request counts are fields: a dictionary for each would be more to touch, of a model among many.
    admitted: int = 0
    queued: int = 0
    held: int = 0
    refused: int = 0
    shed: int = 0
    queue_timeouts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @classmethod
    def zero(cls) -> ModelMetrics:
        """Begin to count."""
        return cls(
            durations={},
            first_token=Histogram.of(_FIRST_TOKEN),
            per_token=Histogram.of(_PER_TOKEN),
            queue=Histogram.of(_QUEUE),
            overhead=Histogram.of(_OVERHEAD),
            aborts=dict.fromkeys(("client_left", "client_stalled", "timeout", "drain", "hedged", "ejected"), 0),
            attempts={outcome: ZeroDict() for outcome in ("ok", "failed", "full", "timeout", "aborted")},
            fallbacks=ZeroDict(),
            retries=dict.fromkeys(("retried", "over_budget", "held"), 0),
            slo_met=dict.fromkeys(_OBJECTIVES, 0),
            slo_missed=dict.fromkeys(_OBJECTIVES, 0),
            recoveries=dict.fromkeys(("recovered", "failed", "ineligible", "no_replica", "over_budget", "aborted"), 0),
        )

    @property
    def waits(self) -> Histogram:
        """How long requests waited for a slot; those admitted at once, which are counted already, did not wait."""
        at_once, *others = self.queue.counts
        return Histogram(self.queue.bounds, [at_once + self.admitted, *others], self.queue.sum, self.queue.exemplars)

    @property
    def tokens(self) -> dict[str, int]:
        """How many tokens went in and came out, and how many of those that went in were known already."""
        return {"input": self.input_tokens, "output": self.output_tokens, "cached": self.cached_tokens}

    @property
    def admissions(self) -> dict[str, int]:
        """What admission decided, and how often."""
        return {
            "admitted": self.admitted,
            "queued": self.queued,
            "held": self.held,
            "refused": self.refused,
            "shed": self.shed,
            "timeout": self.queue_timeouts,
        }

    def add(self, other: ModelMetrics) -> None:
        """Count what was counted elsewhere for the same model."""
        for endpoint, histogram in other.durations.items():
            self.durations.setdefault(endpoint, Histogram.of(DURATION_BOUNDS)).add(histogram)
        for name in ("first_token", "per_token", "queue", "overhead"):
            getattr(self, name).add(getattr(other, name))
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("aborts", "fallbacks", "retries", "recoveries", "slo_met", "slo_missed"):
            mine: dict[str, int] = getattr(self, name)
            for label, number in getattr(other, name).items():
                mine[label] += number
        for outcome, numbers in other.attempts.items():
            for replica, number in numbers.items():
                self.attempts[outcome][replica] += number


def outcome_of(status: int) -> str:
    """Give the outcome of an attempt that was answered with an error."""
    if status in (503, 529):
        return "full"
    return "ok" if status < 500 else "failed"


class Snapshot(msgspec.Struct):
    """All that was counted, as it goes from one process to another.

    Requests are by model, endpoint and status; tokens of keys with limits by group, and what restrictions of
    keys have refused by group and reason. ``errors`` are the latest ones.
    """

    models: dict[str, ModelMetrics]
    requests: dict[tuple[str, str, int], int]
    lag: Histogram
    files: FileCounts
    batches: BatchCounts
    wire: WireCounts
    key_input_tokens: dict[str, int]
    key_output_tokens: dict[str, int]
    key_refusals: dict[tuple[str, str], int]
    spans: dict[str, int]
    lost_log_lines: int
    lease_mismatches: dict[str, int]
    errors: list[RequestError]


class Outcome:
    """The requests of one model, endpoint and status: how many, and where else each of them is counted."""

    __slots__ = ("durations", "metrics", "number", "slo")

    def __init__(self, metrics: ModelMetrics, durations: Histogram) -> None:
        self.metrics = metrics
        self.durations = durations
        self.number = 0
        self.slo: Mapping[str, float] = {}
        """How quickly the model is to answer, in seconds; empty where nothing is said, and for errors."""


def _exemplify(outcome: Outcome, context: RequestContext, duration: float, trace_id: str) -> None:
    """Let a traced request stand for the buckets in which it was observed."""
    metrics, at = outcome.metrics, time()
    outcome.durations.exemplify(duration, trace_id, at)
    metrics.overhead.exemplify(context.overhead, trace_id, at)
    if context.queued_for:
        metrics.queue.exemplify(context.queued_for, trace_id, at)
    if context.first_token_at is not None:
        to_first = context.first_token_at - context.received_at
        metrics.first_token.exemplify(to_first, trace_id, at)
        if context.output_tokens > 1:
            metrics.per_token.exemplify((duration - to_first) / (context.output_tokens - 1), trace_id, at)


def _judge(outcome: Outcome, context: RequestContext, duration: float) -> None:
    """Count whether a request kept to the objectives of its model, as far as they are about it.

    They are about requests that somebody waits for, which a line of a batch is not.
    """
    if context.head.client == BATCH:
        return
    took = {"e2e": duration}
    if context.first_token_at is not None:
        took["ttft"] = to_first = context.first_token_at - context.received_at
        if context.output_tokens > 1:
            took["tpot"] = (duration - to_first) / (context.output_tokens - 1)
    for name, most in outcome.slo.items():
        if name in took:
            counted = outcome.metrics.slo_met if took[name] <= most else outcome.metrics.slo_missed
            counted[name] += 1


class _Models(dict[str, ModelMetrics]):
    """The counters of each model, made at its first use."""

    def __missing__(self, model: str) -> ModelMetrics:
        # Both threads may be the first to ask.
        return self.setdefault(model, ModelMetrics.zero())


class Counters:
    """All that one data plane counts. Written by its thread, read by the control plane's."""

    def __init__(self) -> None:
        self._models = _Models()
        self.of: Callable[[str], ModelMetrics] = self._models.__getitem__
        """Gives the counters of a model, which begin at its first use."""
        # By model, endpoint and status, in three steps: to make a key of the three would take longer than to find it.
        self._outcomes: dict[str, dict[str, dict[int, Outcome]]] = {}
        self.lag = Histogram.of(_LAG)
        """By how much the event loop was late for its own tick."""
        self.files = FileCounts()
        self.batches = BatchCounts()
        self.wire = WireCounts()
        self.key_input_tokens = ZeroDict()
        self.key_output_tokens = ZeroDict()
        """Tokens of requests whose keys have limits, by the groups of the keys."""
        self.key_refusals: dict[tuple[str, str], int] = {}
        self._objectives: Mapping[str, Mapping[str, float]] = {}
        self.lost_log_lines = 0
        self.spans = {"exported": 0, "dropped": 0}
        """Spans of sampled requests, by what became of them."""
        self.lease_mismatches = dict.fromkeys(LEASES, 0)
        """Counts that differed from what requests held, and were corrected, by what they count."""
        self.errors = RecentErrors()
        """The latest requests that have failed, with what their clients were told."""

    def __repr__(self) -> str:
        return f"<Counters [{sum(self.requests().values())} requests of {len(self._models)} models]>"

    def lagged(self, seconds: float) -> None:
        """Count by how much the event loop was late for its own tick."""
        self.lag.observe(seconds)

    def ended(self, context: RequestContext, now: float) -> None:
        """Count a request that is over; ``now`` is a ``perf_counter`` reading."""
        try:
            outcome = self._outcomes[context.model][context.head.endpoint][context.status]
        except KeyError:
            outcome = self._outcome(context.model, context.head.endpoint, context.status)
        metrics, duration = outcome.metrics, now - context.received_at
        outcome.number += 1
        # perf: ``Histogram.observe`` written out, here and below, for the two that every request meets.
        durations = outcome.durations
        durations.counts[bisect_left(durations.bounds, duration)] += 1
        durations.sum += duration
        overhead = context.overhead
        if context.queued_for:
            metrics.queue.observe(context.queued_for)
        if not overhead:
            return
        overheads = metrics.overhead
        overheads.counts[bisect_left(overheads.bounds, overhead)] += 1
        overheads.sum += overhead
        metrics.input_tokens += context.input_tokens
        metrics.output_tokens += context.output_tokens
        if context.cached_tokens:
            metrics.cached_tokens += context.cached_tokens
        if context.first_token_at is not None:
            to_first = context.first_token_at - context.received_at
            metrics.first_token.observe(to_first)
            if context.output_tokens > 1:
                metrics.per_token.observe((duration - to_first) / (context.output_tokens - 1))
        if outcome.slo:
            _judge(outcome, context, duration)
        if context.recording is not None:
            _exemplify(outcome, context, duration, context.recording.trace_id)

    def set_objectives(self, objectives: Mapping[str, Mapping[str, float]]) -> None:
        """Judge requests by other objectives from now on: seconds by name, for each model that has any."""
        self._objectives = objectives
        for model, by_endpoint in self._outcomes.items():
            for by_status in by_endpoint.values():
                self._give_objectives(model, by_status)

    def _give_objectives(self, model: str, by_status: Mapping[int, Outcome]) -> None:
        """Let requests be judged, but for errors: they are quick, and not what an objective is about."""
        for status, outcome in by_status.items():
            outcome.slo = self._objectives.get(model, {}) if status < 400 else {}

    def key_refused(self, group: str, reason: str) -> None:
        """Count a request that a limit or another restriction of its key has refused."""
        self.key_refusals[group, reason] = self.key_refusals.get((group, reason), 0) + 1

    def _outcome(self, model: str, endpoint: str, status: int) -> Outcome:
        """Find or begin the counter of one model, endpoint and status."""
        by_status = self._outcomes.setdefault(model, {}).setdefault(endpoint, {})
        if status not in by_status:
            metrics = self.of(model)
            durations = metrics.durations.setdefault(endpoint, Histogram.of(DURATION_BOUNDS))
            by_status[status] = Outcome(metrics, durations)
            self._give_objectives(model, by_status)
        return by_status[status]

    def models(self) -> dict[str, ModelMetrics]:
        """Give the counters of every model that has any."""
        return dict(self._models)

    def requests(self) -> dict[tuple[str, str, int], int]:
        """Give the numbers of requests by model, endpoint and status."""
        return {
            (model, endpoint, status): outcome.number
            for model, by_endpoint in list(self._outcomes.items())
            for endpoint, by_status in list(by_endpoint.items())
            for status, outcome in list(by_status.items())
        }

    def snapshot(self) -> Snapshot:
        """Give everything that was counted, to be encoded at once: it is what is still being counted."""
        given, made, refused = self.key_input_tokens, self.key_output_tokens, self.key_refusals
        return Snapshot(
            self.models(),
            self.requests(),
            self.lag,
            self.files,
            self.batches,
            self.wire,
            dict(given),
            dict(made),
            dict(refused),
            self.spans,
            self.lost_log_lines,
            dict(self.lease_mismatches),
            self.errors.latest(),
        )

    def add(self, other: Snapshot) -> None:
        """Count what another process has counted."""
        for model, metrics in other.models.items():
            self.of(model).add(metrics)
        for key, number in other.requests.items():
            self._outcome(*key).number += number
        self.lag.add(other.lag)
        self.files.add(other.files)
        self.batches.add(other.batches)
        self.wire.add(other.wire)
        for group, number in other.key_input_tokens.items():
            self.key_input_tokens[group] += number
        for group, number in other.key_output_tokens.items():
            self.key_output_tokens[group] += number
        for lease, number in other.lease_mismatches.items():
            self.lease_mismatches[lease] += number
        for labels, number in other.key_refusals.items():
            self.key_refusals[labels] = self.key_refusals.get(labels, 0) + number
        for outcome, number in other.spans.items():
            self.spans[outcome] += number
        self.lost_log_lines += other.lost_log_lines
        self.errors.merge(other.errors)
