"""The one place for metrics: what is counted, and how it is shown to Prometheus.

The data plane counts in plain Python numbers, because one locked Prometheus child costs as much as the rest of a
request's bookkeeping; a ``Collector`` turns them into families when the control plane is scraped. Every series of a
configured model exists from the start, so that a query at zero replicas finds a zero and not a gap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter, sleep

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.core.context import RequestContext
from gateway.pools.registry import Registry

_DURATION = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_FIRST_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1.0)
_QUEUE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_OVERHEAD = (0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_REST_SECONDS = 0.0001
"""How long a scrape rests after each family."""

_COMMON_ENDPOINT = "/v1/chat/completions"
"""The endpoint whose series a model has before its first request."""


_COUNTS = ("admitted", "queued", "refused", "queue_timeouts", "input_tokens", "output_tokens", "cached_tokens")
"""The fields of ``ModelMetrics`` that are plain numbers."""


class Counts(dict[str, int]):
    """Numbers that begin at zero; a ``collections.Counter`` takes twice as long for each one more."""

    def __missing__(self, _name: str) -> int:
        return 0


# Two dataclasses, because they change with each request: to set a field of a msgspec.Struct takes four times as long.
@dataclass(slots=True)
class Histogram:
    """Counts of observations per bucket; ``bounds`` are upper limits in seconds, the last bucket has none."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    @classmethod
    def of(cls, bounds: tuple[float, ...]) -> Histogram:
        """Begin to count."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        """Count what another histogram with the same bounds has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def show(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add this histogram to a family that Prometheus reads."""
        names = [*(str(bound) for bound in self.bounds), "+Inf"]
        counts = accumulate(list(self.counts))
        family.add_metric(labels, list(zip(names, map(float, counts), strict=True)), self.sum)


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
    ``Counts`` where attempts are counted; what came from another process is only added."""
    # What nearly every request counts are fields: a dictionary for each would be more to touch, of a model among many.
    admitted: int = 0
    queued: int = 0
    refused: int = 0
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
            aborts=dict.fromkeys(("client_left", "client_stalled", "timeout", "drain", "hedged"), 0),
            attempts={outcome: Counts() for outcome in ("ok", "failed", "full", "timeout", "aborted")},
        )

    @property
    def waits(self) -> Histogram:
        """How long requests waited for a slot; those admitted at once, which are counted already, did not wait."""
        at_once, *others = self.queue.counts
        return Histogram(self.queue.bounds, [at_once + self.admitted, *others], self.queue.sum)

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
            "refused": self.refused,
            "timeout": self.queue_timeouts,
        }

    def add(self, other: ModelMetrics) -> None:
        """Count what was counted elsewhere for the same model."""
        for endpoint, histogram in other.durations.items():
            self.durations.setdefault(endpoint, Histogram.of(_DURATION)).add(histogram)
        for name in ("first_token", "per_token", "queue", "overhead"):
            getattr(self, name).add(getattr(other, name))
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, number in other.aborts.items():
            self.aborts[reason] += number
        for outcome, numbers in other.attempts.items():
            for replica, number in numbers.items():
                self.attempts[outcome][replica] += number


def outcome_of(status: int) -> str:
    """Give the outcome of an attempt that was answered with an error."""
    if status == 503:
        return "full"
    return "ok" if status < 500 else "failed"


class Snapshot(msgspec.Struct):
    """All that was counted, as it goes from one process to another; requests are by model, endpoint and status."""

    models: dict[str, ModelMetrics]
    requests: dict[tuple[str, str, int], int]
    lag: Histogram


class Outcome:
    """The requests of one model, endpoint and status: how many, and where else each of them is counted."""

    __slots__ = ("durations", "metrics", "number")

    def __init__(self, metrics: ModelMetrics, durations: Histogram) -> None:
        self.metrics = metrics
        self.durations = durations
        self.number = 0


class _Models(dict[str, ModelMetrics]):
    """The counters of each model, made at its first use."""

    def __missing__(self, model: str) -> ModelMetrics:
        # Both threads may be the first to ask.
        return self.setdefault(model, ModelMetrics.zero())


class Metrics(Collector):
    """All of the gateway's own metrics. Written by the data plane's thread, read by the control plane's.

    Reading copies each dictionary in one step, so a scrape sees every counter whole, if not all of them at one instant.
    """

    def __init__(self, registry: Callable[[], Registry], version: str, commit: str) -> None:
        self._registry = registry
        self._build = (version, commit)
        self._models = _Models()
        self.of: Callable[[str], ModelMetrics] = self._models.__getitem__
        """Gives the counters of a model."""
        # By model, endpoint and status, in three steps: to make a key of the three would take longer than to find it.
        self._outcomes: dict[str, dict[str, dict[int, Outcome]]] = {}
        self._lag = Histogram.of(_LAG)
        self.last_reload_successful = True

    def __repr__(self) -> str:
        return f"<Metrics [{sum(self._requests().values())} requests of {len(self._models)} models]>"

    def lagged(self, seconds: float) -> None:
        """Count by how much the event loop was late for its own tick."""
        self._lag.observe(seconds)

    def ended(self, context: RequestContext, now: float) -> None:
        """Count a request that is over; ``now`` is a ``perf_counter`` reading."""
        try:
            outcome = self._outcomes[context.model][context.head.endpoint][context.status]
        except KeyError:
            outcome = self._outcome(context.model, context.head.endpoint, context.status)
        metrics, duration = outcome.metrics, now - context.received_at
        outcome.number += 1
        outcome.durations.observe(duration)
        overhead = context.overhead
        if context.queued_for:
            metrics.queue.observe(context.queued_for)
        if not overhead:
            return
        metrics.overhead.observe(overhead)
        metrics.input_tokens += context.input_tokens
        metrics.output_tokens += context.output_tokens
        if context.cached_tokens:
            metrics.cached_tokens += context.cached_tokens
        if context.first_token_at is not None:
            to_first = context.first_token_at - context.received_at
            metrics.first_token.observe(to_first)
            if context.output_tokens > 1:
                metrics.per_token.observe((duration - to_first) / (context.output_tokens - 1))

    def _outcome(self, model: str, endpoint: str, status: int) -> Outcome:
        """Find or begin the counter of one model, endpoint and status."""
        by_status = self._outcomes.setdefault(model, {}).setdefault(endpoint, {})
        if status not in by_status:
            metrics = self.of(model)
            durations = metrics.durations.setdefault(endpoint, Histogram.of(_DURATION))
            by_status[status] = Outcome(metrics, durations)
        return by_status[status]

    def _requests(self) -> dict[tuple[str, str, int], int]:
        """Give the numbers of requests by model, endpoint and status."""
        return {
            (model, endpoint, status): outcome.number
            for model, by_endpoint in list(self._outcomes.items())
            for endpoint, by_status in list(by_endpoint.items())
            for status, outcome in list(by_status.items())
        }

    def snapshot(self) -> Snapshot:
        """Give everything that was counted, to be encoded at once: it is what is still being counted."""
        return Snapshot(dict(self._models), self._requests(), self._lag)

    def add(self, other: Snapshot) -> None:
        """Count what another process has counted."""
        for model, metrics in other.models.items():
            self.of(model).add(metrics)
        for key, number in other.requests.items():
            self._outcome(*key).number += number
        self._lag.add(other.lag)

    def collect(self) -> Iterable[Metric]:
        """Give every family; called by Prometheus's registry on the control plane's thread.

        Whoever asks for the next one has written the one before, which takes about a tenth of a millisecond for a
        model. Resting then leaves the interpreter to the data plane, whose events would else wait for the whole scrape.
        """
        for family in self._families():
            yield family
            sleep(_REST_SECONDS)

    def _families(self) -> Iterable[Metric]:
        for pool in self._registry():
            self.of(pool.model)
        models = sorted(self._models.items())
        yield from self._per_request(models)
        yield from self._per_model(models)
        yield from self._of_pools()
        lag = HistogramMetricFamily(
            "headgate_event_loop_lag_seconds", "By how much the data plane's event loop was late for its own tick."
        )
        self._lag.show(lag, [])
        yield lag
        reload = GaugeMetricFamily(
            "headgate_config_last_reload_successful",
            "Whether the latest reload of the configuration went well; 1 before any.",
        )
        reload.add_metric([], float(self.last_reload_successful))
        yield reload
        build = GaugeMetricFamily("headgate_build_info", "Version and commit; always 1.", labels=["version", "commit"])
        build.add_metric(list(self._build), 1.0)
        yield build

    def _per_request(self, models: Sequence[tuple[str, ModelMetrics]]) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "headgate_requests_total", "Requests that ended, by status.", labels=["model", "endpoint", "code"]
        )
        counted = self._requests()
        configured = {pool.model for pool in self._registry()}
        for name in configured:
            counted.setdefault((name, _COMMON_ENDPOINT, 200), 0)
        for (model, endpoint, code), number in sorted(counted.items()):
            requests.add_metric([model, endpoint, str(code)], number)
        yield requests
        durations = HistogramMetricFamily(
            "headgate_request_duration_seconds",
            "From the request's last byte to the response's last.",
            labels=["model", "endpoint"],
        )
        for name, metrics in models:
            by_endpoint = dict(metrics.durations)
            if name in configured:
                by_endpoint.setdefault(_COMMON_ENDPOINT, Histogram.of(_DURATION))
            for endpoint, histogram in sorted(by_endpoint.items()):
                histogram.show(durations, [name, endpoint])
        yield durations

    def _per_model(self, models: Sequence[tuple[str, ModelMetrics]]) -> Iterable[Metric]:
        histograms: tuple[tuple[str, str, Callable[[ModelMetrics], Histogram]], ...] = (
            ("time_to_first_token", "From the request's last byte to the first content.", lambda m: m.first_token),
            ("time_per_output_token", "(E2E - TTFT) / (output tokens - 1).", lambda m: m.per_token),
            ("queue_duration", "Wait for a slot.", lambda m: m.waits),
            ("overhead", "The gateway's own time: neither queue nor engine.", lambda m: m.overhead),
        )
        for name, documentation, get in histograms:
            family = HistogramMetricFamily(f"headgate_{name}_seconds", documentation, labels=["model"])
            for model, metrics in models:
                get(metrics).show(family, [model])
            yield family
        counters: tuple[tuple[str, str, str, Callable[[ModelMetrics], dict[str, int]]], ...] = (
            ("tokens", "Tokens, as the engines metered them.", "type", lambda m: m.tokens),
            ("admissions", "What admission decided.", "outcome", lambda m: m.admissions),
            ("upstream_aborts", "Requests taken back from an engine.", "reason", lambda m: m.aborts),
        )
        for name, documentation, label, of in counters:
            counter = CounterMetricFamily(f"headgate_{name}_total", documentation, labels=["model", label])
            for model, metrics in models:
                for value, number in sorted(of(metrics).items()):
                    counter.add_metric([model, value], number)
            yield counter
        attempts = CounterMetricFamily(
            "headgate_upstream_attempts_total", "Attempts at a replica.", labels=["model", "replica", "outcome"]
        )
        configured = {pool.model: pool for pool in self._registry()}
        for model, metrics in models:
            names = [each.name for each in configured[model].replicas] if model in configured else []
            attempted = {(name, outcome): 0 for name in names for outcome in ("ok", "failed")}
            for outcome, by_replica in metrics.attempts.items():
                attempted.update({(name, outcome): number for name, number in dict(by_replica).items()})
            for (replica, outcome), number in sorted(attempted.items()):
                attempts.add_metric([model, replica, outcome], number)
        yield attempts

    def _of_pools(self) -> Iterable[Metric]:
        now = perf_counter()
        names = {
            "requests_running": "Requests admitted and not yet answered.",
            "requests_waiting": "Requests in the queue.",
            "oldest_waiting_seconds": "How long the head of the queue has waited.",
            "tokens_in_flight": "Most tokens that the requests under way may still produce.",
            "pool_saturation": "Requests running as a share of the limit; 0 without a limit.",
        }
        families = {
            name: GaugeMetricFamily(f"headgate_{name}", documentation, labels=["model"])
            for name, documentation in names.items()
        }
        ready = GaugeMetricFamily(
            "headgate_replica_ready", "Whether a replica may be asked.", labels=["model", "replica"]
        )
        in_flight = GaugeMetricFamily(
            "headgate_replica_in_flight", "Requests at a replica from this gateway.", labels=["model", "replica"]
        )
        for pool in self._registry():
            load = pool.load(now)
            for family, value in zip(families.values(), (*load, load.saturation(pool.admission.limit)), strict=True):
                family.add_metric([pool.model], float(value))
            for replica in pool.replicas:
                ready.add_metric([pool.model, replica.name], float(replica.ready))
                in_flight.add_metric([pool.model, replica.name], float(replica.in_flight))
        yield from families.values()
        yield ready
        yield in_flight
