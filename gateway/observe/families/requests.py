"""What is counted of requests, per model: how many, how long they took, and what became of them."""

from __future__ import annotations

from gateway.observe.counters import DURATION_BOUNDS, Histogram
from gateway.observe.families.row import MODEL, Row, Scrape, per_model, per_model_and
from gateway.observe.text_format import Kind, Samples

_COMMON_ENDPOINT = "/v1/chat/completions"
"""The endpoint whose series a model has before its first request."""

_USUAL_CODES = (200, 500, 502, 503, 504)
"""The codes of those series: an error ratio is 0 before the first error, and not empty."""


def _requests(scrape: Scrape) -> Samples:
    usual = {(_COMMON_ENDPOINT, code): 0 for code in _USUAL_CODES}
    counted = {name: dict(usual) for name in scrape.configured}
    for (model, endpoint, code), number in scrape.counters.requests().items():
        counted.setdefault(model, {})[endpoint, code] = number
    # Model by model: to sort all of them is one call that lets no other thread in, for milliseconds.
    for model in sorted(counted):
        for (endpoint, code), number in sorted(counted[model].items()):
            yield (model, endpoint, str(code)), number


def _key_tokens(scrape: Scrape) -> Samples:
    counters = scrape.counters
    for kind, by_group in (("input", counters.key_input_tokens), ("output", counters.key_output_tokens)):
        for group, number in sorted(dict(by_group).items()):
            yield (group, kind), number


def _durations(scrape: Scrape) -> Samples:
    configured = scrape.configured
    for name, metrics in scrape.models:
        by_endpoint = dict(metrics.durations)
        if name in configured:
            by_endpoint.setdefault(_COMMON_ENDPOINT, Histogram.of(DURATION_BOUNDS))
        for endpoint, histogram in sorted(by_endpoint.items()):
            yield (name, endpoint), histogram


def _attempts(scrape: Scrape) -> Samples:
    configured = {model.name: model.pool for model in scrape.registry.models}
    for model, metrics in scrape.models:
        replicas = configured[model].replicas if model in configured else ()
        attempted = {(each.name, outcome): 0 for each in replicas for outcome in ("ok", "failed")}
        for outcome, by_replica in metrics.attempts.items():
            attempted.update({(name, outcome): number for name, number in dict(by_replica).items()})
        for (replica, outcome), number in sorted(attempted.items()):
            yield (model, replica, outcome), number


def _fallbacks(scrape: Scrape) -> Samples:
    configured = {model.name: model.fallback for model in scrape.registry.models}
    for model, metrics in scrape.models:
        counted = dict.fromkeys(configured.get(model, ()), 0) | dict(metrics.fallbacks)
        yield from (((model, to), number) for to, number in sorted(counted.items()))


def _slo_requests(scrape: Scrape) -> Samples:
    """Show those objectives that a model has, and those that it had when its requests were counted."""
    objectives = {model.name: model.slo for model in scrape.registry.models}
    for name, metrics in scrape.models:
        for slo, met in metrics.slo_met.items():
            missed = metrics.slo_missed[slo]
            if met or missed or slo in objectives.get(name, {}):
                yield (name, slo, "met"), met
                yield (name, slo, "missed"), missed


def _slo_seconds(scrape: Scrape) -> Samples:
    for model in scrape.registry.models:
        yield from (((model.name, name), seconds) for name, seconds in model.slo.items())


REQUESTS = (
    Row(
        Kind.COUNTER,
        "requests",
        "Requests completed, by status code.",
        ("model", "endpoint", "code"),
        _requests,
    ),
    Row(
        Kind.HISTOGRAM,
        "request_duration_seconds",
        "End-to-end latency: from the last byte of the request to the last byte of the response.",
        ("model", "endpoint"),
        _durations,
    ),
    Row(
        Kind.HISTOGRAM,
        "time_to_first_token_seconds",
        "Time to first token (TTFT): from the last byte of the request to the first event with content.",
        MODEL,
        per_model(lambda metrics: metrics.first_token),
    ),
    Row(
        Kind.HISTOGRAM,
        "time_per_output_token_seconds",
        "Time per output token (TPOT): (E2E - TTFT) / (output tokens - 1).",
        MODEL,
        per_model(lambda metrics: metrics.per_token),
    ),
    Row(
        Kind.COUNTER,
        "slo_requests",
        "Requests without an error, by whether they met an objective of their model or missed it.",
        ("model", "slo", "outcome"),
        _slo_requests,
    ),
    Row(
        Kind.GAUGE,
        "slo_seconds",
        "The objectives of a model, as its configuration has them.",
        ("model", "slo"),
        _slo_seconds,
    ),
    Row(
        Kind.HISTOGRAM,
        "queue_duration_seconds",
        "Time that requests waited in the queue for a slot.",
        MODEL,
        per_model(lambda metrics: metrics.waits),
    ),
    Row(
        Kind.HISTOGRAM,
        "overhead_seconds",
        "Time spent in the gateway itself, without the queue and the engine.",
        MODEL,
        per_model(lambda metrics: metrics.overhead),
    ),
    Row(
        Kind.COUNTER,
        "tokens",
        "Tokens as the engines report them in usage: input, output, and those of the input found in a cache.",
        ("model", "type"),
        per_model_and(lambda metrics: metrics.tokens),
    ),
    Row(
        Kind.COUNTER,
        "key_tokens",
        "Tokens of requests whose key has limits, by the key's group.",
        ("group", "type"),
        _key_tokens,
    ),
    Row(
        Kind.COUNTER,
        "key_refusals",
        "Requests refused by a limit or another restriction of their key, by the key's group and the reason.",
        ("group", "reason"),
        lambda scrape: sorted(dict(scrape.counters.key_refusals).items()),
    ),
    Row(
        Kind.COUNTER,
        "admissions",
        "Admission decisions: admitted at once, queued, held (queued for a replica), refused, or timed out waiting.",
        ("model", "outcome"),
        per_model_and(lambda metrics: metrics.admissions),
    ),
    Row(
        Kind.COUNTER,
        "upstream_aborts",
        "Requests aborted at an engine, by reason.",
        ("model", "reason"),
        per_model_and(lambda metrics: metrics.aborts),
    ),
    Row(
        Kind.COUNTER,
        "upstream_attempts",
        "Attempts at a replica, by outcome; retries and hedges are attempts of their own.",
        ("model", "replica", "outcome"),
        _attempts,
    ),
    Row(
        Kind.COUNTER,
        "retries",
        "Failed attempts that another replica might better: retried there, held until one is back, or over_budget.",
        ("model", "outcome"),
        per_model_and(lambda metrics: metrics.retries),
    ),
    Row(
        Kind.COUNTER,
        "fallbacks",
        "Requests for a model that were asked of another one instead.",
        ("model", "to"),
        _fallbacks,
    ),
    Row(
        Kind.COUNTER,
        "stream_recoveries",
        "Streams whose replica died after tokens were sent, by how they ended.",
        ("model", "outcome"),
        per_model_and(lambda metrics: metrics.recoveries),
    ),
)
"""The families, in the order in which they are written."""
