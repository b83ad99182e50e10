"""What Prometheus reads at a scrape: one row of a table for each family of metrics.

Every series of a configured model exists from the start, so that a query at zero replicas finds a zero and not a gap.

Figures of requests (counters and histograms) are per model. Gauges of a pool are shown once, with the name of the pool,
which is that of its first model, as ``model``: models that share a pool share its slots and its queue, and a ``sum``
must not count those twice. ``headgate_model_info`` tells the pool of each model, to join the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from time import perf_counter, sleep
from typing import NamedTuple, get_args

from prometheus_client import ProcessCollector

from gateway.observe.counters import DURATION_BOUNDS, Counters, Histogram, ModelMetrics
from gateway.observe.text_format import Family, Kind, Samples, Value, text_of
from gateway.pools.discovered import Discovered
from gateway.pools.pool import Load, Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState
from gateway.scaling.decide import KEEPING, Reason
from gateway.scaling.scaler import ScaledModel

_REST_SECONDS = 0.0001
"""How long a scrape rests after each family."""

_COMMON_ENDPOINT = "/v1/chat/completions"
"""The endpoint whose series a model has before its first request."""

_USUAL_CODES = (200, 500, 502, 503, 504)
"""The codes of those series: an error ratio is 0 before the first error, and not empty."""


class _Scrape(NamedTuple):
    """All that one scrape reads."""

    registry: Registry
    counters: Counters
    models: Sequence[tuple[str, ModelMetrics]]
    loads: Sequence[tuple[Pool, Load]]
    build: tuple[str, str]
    reloaded: bool
    scaled: Collection[ScaledModel]
    limits_shared: bool | None

    @property
    def configured(self) -> set[str]:
        """The names of the models that the configuration has."""
        return {model.name for model in self.registry.models}


class _Row(NamedTuple):
    """One family: its name without the prefix, its help, the names of its labels, and its series."""

    kind: Kind
    name: str
    documentation: str
    labels: Sequence[str]
    samples: Callable[[_Scrape], Samples]

    def read(self, scrape: _Scrape) -> Family:
        """Fill the family in."""
        return Family(self.kind, f"headgate_{self.name}", self.documentation, self.labels, self.samples(scrape))


class Exposition:
    """Turns counters and pools into what Prometheus reads, at each scrape, on the control plane's thread.

    ``counters`` gives those of this process, or the sum over several.
    """

    def __init__(
        self,
        counters: Callable[[], Counters],
        registry: Callable[[], Registry],
        version: str,
        commit: str,
    ) -> None:
        self._counters = counters
        self._registry = registry
        self._build = (version, commit)
        self._process = ProcessCollector(registry=None)
        self.last_reload_successful = True
        self.scaled: Callable[[], Collection[ScaledModel]] = tuple
        """The models whose replicas follow their demand."""
        self.limits_shared: bool | None = None
        """Whether limits are shared with other nodes; ``None`` where they need not be."""

    def __repr__(self) -> str:
        return f"<Exposition of {len(_FAMILIES)} families>"

    def counters(self) -> Counters:
        """Give what was counted so far."""
        return self._counters()

    def text(self, *, openmetrics: bool = False) -> bytes:
        """Write every family.

        Resting in between leaves the interpreter to the data plane, whose events would else wait for the whole scrape.
        """
        parts: list[str] = []
        for family in self._families():
            parts.append(text_of(family, openmetrics=openmetrics))
            sleep(_REST_SECONDS)
        if openmetrics:
            parts.append("# EOF\n")
        return "".join(parts).encode()

    def _families(self) -> Iterator[Family]:
        registry, counters = self._registry(), self._counters()
        for model in registry.models:
            counters.of(model.name)
        now = perf_counter()
        loads = [(pool, pool.load(now)) for pool in registry.pools]
        scrape = _Scrape(
            registry,
            counters,
            sorted(counters.models().items()),
            loads,
            self._build,
            self.last_reload_successful,
            self.scaled(),
            self.limits_shared,
        )
        for row in _FAMILIES:
            yield row.read(scrape)
        for metric in self._process.collect():
            samples = [(tuple(each.labels.values()), each.value) for each in metric.samples]
            yield Family(Kind(metric.type), metric.name, metric.documentation, (), samples)


def _requests(scrape: _Scrape) -> Samples:
    counted = scrape.counters.requests()
    for name in scrape.configured:
        for code in _USUAL_CODES:
            counted.setdefault((name, _COMMON_ENDPOINT, code), 0)
    for (model, endpoint, code), number in sorted(counted.items()):
        yield (model, endpoint, str(code)), number


def _decisions(scrape: _Scrape) -> Samples:
    for model in scrape.scaled:
        for reason in get_args(Reason):
            if reason not in KEEPING:
                yield (model.name, reason), model.decisions[reason]


def _key_tokens(scrape: _Scrape) -> Samples:
    counters = scrape.counters
    for kind, by_group in (("input", counters.key_input_tokens), ("output", counters.key_output_tokens)):
        for group, number in sorted(dict(by_group).items()):
            yield (group, kind), number


def _durations(scrape: _Scrape) -> Samples:
    configured = scrape.configured
    for name, metrics in scrape.models:
        by_endpoint = dict(metrics.durations)
        if name in configured:
            by_endpoint.setdefault(_COMMON_ENDPOINT, Histogram.of(DURATION_BOUNDS))
        for endpoint, histogram in sorted(by_endpoint.items()):
            yield (name, endpoint), histogram


def _attempts(scrape: _Scrape) -> Samples:
    configured = {model.name: model.pool for model in scrape.registry.models}
    for model, metrics in scrape.models:
        replicas = configured[model].replicas if model in configured else ()
        attempted = {(each.name, outcome): 0 for each in replicas for outcome in ("ok", "failed")}
        for outcome, by_replica in metrics.attempts.items():
            attempted.update({(name, outcome): number for name, number in dict(by_replica).items()})
        for (replica, outcome), number in sorted(attempted.items()):
            yield (model, replica, outcome), number


def _fallbacks(scrape: _Scrape) -> Samples:
    configured = {model.name: model.fallback for model in scrape.registry.models}
    for model, metrics in scrape.models:
        counted = dict.fromkeys(configured.get(model, ()), 0) | dict(metrics.fallbacks)
        yield from (((model, to), number) for to, number in sorted(counted.items()))


def _slo_requests(scrape: _Scrape) -> Samples:
    """Show those objectives that a model has, and those that it had when its requests were counted."""
    objectives = {model.name: model.slo for model in scrape.registry.models}
    for name, metrics in scrape.models:
        for slo, met in metrics.slo_met.items():
            missed = metrics.slo_missed[slo]
            if met or missed or slo in objectives.get(name, {}):
                yield (name, slo, "met"), met
                yield (name, slo, "missed"), missed


def _slo_seconds(scrape: _Scrape) -> Samples:
    for model in scrape.registry.models:
        yield from (((model.name, name), seconds) for name, seconds in model.slo.items())


def _per_model(get: Callable[[ModelMetrics], Histogram]) -> Callable[[_Scrape], Samples]:
    """Make the series of a histogram that each model has once."""
    return lambda scrape: (((name,), get(metrics)) for name, metrics in scrape.models)


def _per_model_and(get: Callable[[ModelMetrics], dict[str, int]]) -> Callable[[_Scrape], Samples]:
    """Make the series of a counter that each model has for several values of one more label."""
    return lambda scrape: (
        ((name, value), number) for name, metrics in scrape.models for value, number in sorted(get(metrics).items())
    )


def _per_pool(get: Callable[[Pool, Load], float]) -> Callable[[_Scrape], Samples]:
    """Make the series of a gauge that each pool has once."""
    return lambda scrape: (((pool.name,), get(pool, load)) for pool, load in scrape.loads)


def _per_replica(get: Callable[[Replica], float]) -> Callable[[_Scrape], Samples]:
    """Make the series of a gauge that each replica has once."""
    return lambda scrape: (
        ((pool.name, replica.name), get(replica)) for pool in scrape.registry.pools for replica in pool.replicas
    )


def _ejections(scrape: _Scrape) -> Samples:
    for pool in scrape.registry.pools:
        for replica in pool.replicas:
            yield from (((pool.name, replica.name, cause), number) for cause, number in replica.ejections.items())


def _replica_states(scrape: _Scrape) -> Samples:
    for pool in scrape.registry.pools:
        states = [replica.state for replica in pool.replicas]
        yield from (((pool.name, state.value), states.count(state)) for state in ReplicaState)


def _per_discovery(get: Callable[[Discovered], float]) -> Callable[[_Scrape], Samples]:
    """Make the series of a metric that each pool has whose replicas are discovered."""
    return lambda scrape: (
        ((pool.name,), get(pool.discovered)) for pool in scrape.registry.pools if pool.discovered is not None
    )


def _model_info(scrape: _Scrape) -> Iterator[tuple[Sequence[str], Value]]:
    return (((model.name, model.pool.name), 1.0) for model in scrape.registry.models)


def _adapters_loaded(scrape: _Scrape) -> Samples:
    for model in scrape.registry.models:
        if model.parent is not None:
            for replica in model.pool.replicas:
                yield (model.name, replica.name), float(model.upstream_name in replica.adapters)


def _file_bytes(scrape: _Scrape) -> Samples:
    files = scrape.counters.files
    return [(("received",), files.received_bytes), (("sent",), files.sent_bytes)]


_MODEL = ("model",)
_REPLICA = ("model", "replica")

_FAMILIES = (
    _Row(
        Kind.COUNTER,
        "requests",
        "Requests completed, by status code.",
        ("model", "endpoint", "code"),
        _requests,
    ),
    _Row(
        Kind.HISTOGRAM,
        "request_duration_seconds",
        "End-to-end latency: from the last byte of the request to the last byte of the response.",
        ("model", "endpoint"),
        _durations,
    ),
    _Row(
        Kind.HISTOGRAM,
        "time_to_first_token_seconds",
        "Time to first token (TTFT): from the last byte of the request to the first event with content.",
        _MODEL,
        _per_model(lambda metrics: metrics.first_token),
    ),
    _Row(
        Kind.HISTOGRAM,
        "time_per_output_token_seconds",
        "Time per output token (TPOT): (E2E - TTFT) / (output tokens - 1).",
        _MODEL,
        _per_model(lambda metrics: metrics.per_token),
    ),
    _Row(
        Kind.COUNTER,
        "slo_requests",
        "Requests without an error, by whether they met an objective of their model or missed it.",
        ("model", "slo", "outcome"),
        _slo_requests,
    ),
    _Row(
        Kind.GAUGE,
        "slo_seconds",
        "The objectives of a model, as its configuration has them.",
        ("model", "slo"),
        _slo_seconds,
    ),
    _Row(
        Kind.HISTOGRAM,
        "queue_duration_seconds",
        "Time that requests waited in the queue for a slot.",
        _MODEL,
        _per_model(lambda metrics: metrics.waits),
    ),
    _Row(
        Kind.HISTOGRAM,
        "overhead_seconds",
        "Time spent in the gateway itself, without the queue and the engine.",
        _MODEL,
        _per_model(lambda metrics: metrics.overhead),
    ),
    _Row(
        Kind.COUNTER,
        "tokens",
        "Tokens as the engines report them in usage: input, output, and those of the input found in a cache.",
        ("model", "type"),
        _per_model_and(lambda metrics: metrics.tokens),
    ),
    _Row(
        Kind.COUNTER,
        "key_tokens",
        "Tokens of requests whose key has limits, by the key's group.",
        ("group", "type"),
        _key_tokens,
    ),
    _Row(
        Kind.COUNTER,
        "key_refusals",
        "Requests refused by a limit or another restriction of their key, by the key's group and the reason.",
        ("group", "reason"),
        lambda scrape: sorted(dict(scrape.counters.key_refusals).items()),
    ),
    _Row(
        Kind.COUNTER,
        "admissions",
        "Admission decisions: admitted at once, queued, held (queued for a replica), refused, or timed out waiting.",
        ("model", "outcome"),
        _per_model_and(lambda metrics: metrics.admissions),
    ),
    _Row(
        Kind.COUNTER,
        "upstream_aborts",
        "Requests aborted at an engine, by reason.",
        ("model", "reason"),
        _per_model_and(lambda metrics: metrics.aborts),
    ),
    _Row(
        Kind.COUNTER,
        "upstream_attempts",
        "Attempts at a replica, by outcome; retries and hedges are attempts of their own.",
        ("model", "replica", "outcome"),
        _attempts,
    ),
    _Row(
        Kind.COUNTER,
        "retries",
        "Failed attempts that another replica might better: retried there, held until one is back, or over_budget.",
        ("model", "outcome"),
        _per_model_and(lambda metrics: metrics.retries),
    ),
    _Row(
        Kind.COUNTER,
        "fallbacks",
        "Requests for a model that were asked of another one instead.",
        ("model", "to"),
        _fallbacks,
    ),
    _Row(
        Kind.COUNTER,
        "stream_recoveries",
        "Streams whose replica died after tokens were sent, by how they ended.",
        ("model", "outcome"),
        _per_model_and(lambda metrics: metrics.recoveries),
    ),
    _Row(
        Kind.GAUGE,
        "requests_running",
        "Requests admitted and not completed.",
        _MODEL,
        _per_pool(lambda _, load: load.running),
    ),
    _Row(
        Kind.GAUGE,
        "requests_waiting",
        "Requests in the queue.",
        _MODEL,
        _per_pool(lambda _, load: load.waiting),
    ),
    _Row(
        Kind.GAUGE,
        "demand",
        "Requests running and waiting: what a scaler that reads one series divides by its target.",
        _MODEL,
        _per_pool(lambda _, load: load.running + load.waiting),
    ),
    _Row(
        Kind.GAUGE,
        "oldest_waiting_seconds",
        "How long the request at the head of the queue has waited.",
        _MODEL,
        _per_pool(lambda _, load: load.oldest_wait),
    ),
    _Row(
        Kind.GAUGE,
        "tokens_in_flight",
        "Most output tokens that the running requests may produce.",
        _MODEL,
        _per_pool(lambda _, load: load.tokens),
    ),
    _Row(
        Kind.GAUGE,
        "pool_saturation",
        "Requests running as a share of the limit; 0 without a limit.",
        _MODEL,
        _per_pool(lambda pool, load: load.saturation(pool.admission.limit)),
    ),
    _Row(
        Kind.GAUGE,
        "replica_ready",
        "Whether a replica gets requests.",
        _REPLICA,
        _per_replica(lambda replica: float(replica.ready)),
    ),
    _Row(
        Kind.GAUGE,
        "replicas",
        "Replicas of a pool, by their state.",
        ("model", "state"),
        _replica_states,
    ),
    _Row(
        Kind.GAUGE,
        "desired_replicas",
        "Replicas that a scaled model is to have.",
        _MODEL,
        lambda scrape: [((each.name,), each.desired) for each in scrape.scaled],
    ),
    _Row(
        Kind.COUNTER,
        "scaling_decisions",
        "Changes of the number of desired replicas, by their reason.",
        ("model", "reason"),
        _decisions,
    ),
    _Row(
        Kind.GAUGE,
        "cold_start_seconds",
        "How long the last start of a replica took until it was ready.",
        _MODEL,
        lambda scrape: [((each.name,), each.start_seconds) for each in scrape.scaled if each.start_seconds],
    ),
    _Row(
        Kind.GAUGE,
        "replica_in_flight",
        "Requests in flight at a replica from this gateway.",
        _REPLICA,
        _per_replica(lambda replica: replica.in_flight),
    ),
    _Row(
        Kind.COUNTER,
        "replica_restarts",
        "How often the engine of a replica has ended unasked and was started again.",
        _REPLICA,
        _per_replica(lambda replica: replica.restarts),
    ),
    _Row(
        Kind.GAUGE,
        "discovered_replicas",
        "Replicas that the source of a pool told last.",
        _MODEL,
        _per_discovery(lambda discovered: len(discovered.urls)),
    ),
    _Row(
        Kind.COUNTER,
        "discovery_errors",
        "Failures to learn from the source of a pool which replicas there are.",
        _MODEL,
        _per_discovery(lambda discovered: discovered.errors),
    ),
    _Row(
        Kind.GAUGE,
        "discovery_age_seconds",
        "Time since the source of a pool answered last.",
        _MODEL,
        _per_discovery(lambda discovered: discovered.age()),
    ),
    _Row(
        Kind.COUNTER,
        "ejections",
        "Ejections of a replica because of what requests found, by reason: failures, errors or latency.",
        ("model", "replica", "reason"),
        _ejections,
    ),
    _Row(
        Kind.COUNTER,
        "probe_failures",
        "Health probes of a replica that failed.",
        _REPLICA,
        _per_replica(lambda replica: replica.probe_failures),
    ),
    _Row(
        Kind.GAUGE,
        "adapter_loaded",
        "Whether a replica has loaded a LoRA adapter, which is the model of its requests.",
        _REPLICA,
        _adapters_loaded,
    ),
    _Row(
        Kind.GAUGE,
        "model_info",
        "The pool that answers for a model; always 1. The gauges of a pool have its name as model.",
        ("model", "pool"),
        _model_info,
    ),
    _Row(
        Kind.COUNTER,
        "file_bytes",
        "Bytes of files received from clients and sent to them.",
        ("direction",),
        _file_bytes,
    ),
    _Row(
        Kind.COUNTER,
        "files_expired",
        "Files removed because their time was over.",
        (),
        lambda scrape: [((), scrape.counters.files.expired)],
    ),
    _Row(
        Kind.GAUGE,
        "client_connections",
        "Connections of clients that are open.",
        (),
        lambda scrape: [((), scrape.counters.wire.connections)],
    ),
    _Row(
        Kind.COUNTER,
        "access_log_lost_lines",
        "Lines of the access log that were not written, because its target was full or too slow.",
        (),
        lambda scrape: [((), scrape.counters.lost_log_lines)],
    ),
    _Row(
        Kind.COUNTER,
        "trace_spans",
        "Spans of sampled requests: exported, or dropped because the receiver did not take them in time.",
        ("outcome",),
        lambda scrape: [((outcome,), number) for outcome, number in sorted(scrape.counters.spans.items())],
    ),
    _Row(
        Kind.GAUGE,
        "request_body_bytes",
        "Bytes of request bodies held, of requests that arrive, wait or are being answered.",
        (),
        lambda scrape: [((), scrape.counters.wire.body_bytes)],
    ),
    _Row(
        Kind.COUNTER,
        "limit_refusals",
        "Connections and requests refused by a limit of the gateway itself.",
        ("limit",),
        lambda scrape: (((limit,), number) for limit, number in sorted(scrape.counters.wire.refused.items())),
    ),
    _Row(
        Kind.HISTOGRAM,
        "event_loop_lag_seconds",
        "How late the data plane's event loop was for its own tick.",
        (),
        lambda scrape: [((), scrape.counters.lag)],
    ),
    _Row(
        Kind.COUNTER,
        "lease_mismatch",
        "Counts that differed from what requests held, and were corrected, by what they count; always 0 but for a bug.",
        ("lease",),
        lambda scrape: (((lease,), number) for lease, number in scrape.counters.lease_mismatches.items()),
    ),
    _Row(
        Kind.GAUGE,
        "config_last_reload_successful",
        "Whether the latest reload of the configuration succeeded; 1 before the first.",
        (),
        lambda scrape: [((), float(scrape.reloaded))],
    ),
    _Row(
        Kind.GAUGE,
        "limits_shared",
        "Whether limits are shared with other nodes through Redis at this moment; only where one is configured.",
        (),
        lambda scrape: [] if scrape.limits_shared is None else [((), float(scrape.limits_shared))],
    ),
    _Row(
        Kind.GAUGE,
        "build_info",
        "Version and commit; always 1.",
        ("version", "commit"),
        lambda scrape: [(scrape.build, 1.0)],
    ),
)
