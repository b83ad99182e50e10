"""What is counted is what Prometheus reads, from the start and for configured models only."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.context import RequestContext, RequestHead
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.observe.counters import Metrics, outcome_of
from gateway.pools.admission import Admission
from gateway.pools.policies import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def registry() -> Registry:
    replica = Replica("m-0", ConnectionPool(Address.parse("unix:/s"), connect_timeout=1.0), ready=True)
    admission = Admission(4, max_queue=4)
    full = Pool("m", [replica], policy=RoundRobin(), admission=admission, tasks=frozenset({"generate"}))
    empty = Pool("none", [], policy=RoundRobin(), admission=Admission(None, 0), tasks=frozenset({"embed"}))
    return Registry([full, empty])


@pytest.fixture
def metrics(registry: Registry) -> Metrics:
    return Metrics(lambda: registry, "1.2", "abc")


def scraped(metrics: Metrics) -> Samples:
    prometheus = CollectorRegistry(auto_describe=False)
    prometheus.register(metrics)
    text = generate_latest(prometheus).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"headgate_{name}", tuple(sorted(labels.items()))]


def ended(model: str = "m", *, tokens: int = 0, sent: bool = True) -> RequestContext:
    context = RequestContext(RequestHead(""))
    context.model, context.head.endpoint, context.status = model, "/v1/chat/completions", 200
    context.received_at = 100.0
    if sent:
        context.overhead = 0.125
        context.queued_for = 0.125
    context.first_token_at = 101.0 if tokens else None
    context.input_tokens, context.output_tokens, context.cached_tokens = 7, tokens, 2
    return context


@pytest.mark.parametrize("model", ["m", "none"])
def test_every_series_of_a_configured_model_exists_from_the_start(metrics: Metrics, model: str) -> None:
    samples = scraped(metrics)
    chat = {"model": model, "endpoint": "/v1/chat/completions"}
    assert value(samples, "requests_total", code="200", **chat) == 0
    assert value(samples, "request_duration_seconds_count", **chat) == 0
    for name in ("time_to_first_token", "time_per_output_token", "queue_duration", "overhead"):
        assert value(samples, f"{name}_seconds_count", model=model) == 0
    for kind in ("input", "output", "cached"):
        assert value(samples, "tokens_total", model=model, type=kind) == 0
    for outcome in ("admitted", "queued", "refused", "timeout"):
        assert value(samples, "admissions_total", model=model, outcome=outcome) == 0
    for reason in ("client_left", "client_stalled", "timeout", "drain", "hedged"):
        assert value(samples, "upstream_aborts_total", model=model, reason=reason) == 0
    for name in ("running", "waiting"):
        assert value(samples, f"requests_{name}", model=model) == 0
    for name in ("oldest_waiting_seconds", "tokens_in_flight", "pool_saturation"):
        assert value(samples, name, model=model) == 0


def test_the_families_are_the_published_ones(metrics: Metrics) -> None:
    assert {family.name.removeprefix("headgate_") for family in metrics.collect()} == {
        "requests",
        "request_duration_seconds",
        "time_to_first_token_seconds",
        "time_per_output_token_seconds",
        "queue_duration_seconds",
        "overhead_seconds",
        "tokens",
        "requests_running",
        "requests_waiting",
        "oldest_waiting_seconds",
        "tokens_in_flight",
        "pool_saturation",
        "admissions",
        "upstream_aborts",
        "upstream_attempts",
        "event_loop_lag_seconds",
        "replica_ready",
        "replica_in_flight",
        "config_last_reload_successful",
        "build_info",
    }


def test_each_replica_has_its_series_from_the_start(metrics: Metrics) -> None:
    samples = scraped(metrics)
    assert value(samples, "replica_ready", model="m", replica="m-0") == 1
    assert value(samples, "replica_in_flight", model="m", replica="m-0") == 0
    for outcome in ("ok", "failed"):
        assert value(samples, "upstream_attempts_total", model="m", replica="m-0", outcome=outcome) == 0


def test_no_series_ever_goes_away(metrics: Metrics) -> None:
    before = scraped(metrics).keys()
    other = ended()
    other.head.endpoint, other.status = "/classify", 503
    metrics.ended(other, 103.0)
    metrics.of("m").attempts["timeout"]["m-0"] += 1
    assert before < scraped(metrics).keys()


def test_a_request_is_counted_with_its_times_and_tokens(metrics: Metrics) -> None:
    metrics.ended(ended(tokens=5), 103.0)
    samples = scraped(metrics)
    chat = {"model": "m", "endpoint": "/v1/chat/completions"}
    assert value(samples, "requests_total", code="200", **chat) == 1
    assert value(samples, "request_duration_seconds_sum", **chat) == 3.0
    assert value(samples, "time_to_first_token_seconds_sum", model="m") == 1.0
    assert value(samples, "time_per_output_token_seconds_sum", model="m") == 0.5
    assert value(samples, "queue_duration_seconds_sum", model="m") == 0.125
    assert value(samples, "overhead_seconds_sum", model="m") == 0.125
    tokens = [value(samples, "tokens_total", model="m", type=kind) for kind in ("input", "output", "cached")]
    assert tokens == [7, 5, 2]


def test_one_token_has_no_time_per_token(metrics: Metrics) -> None:
    metrics.ended(ended(tokens=1), 103.0)
    samples = scraped(metrics)
    assert value(samples, "time_to_first_token_seconds_count", model="m") == 1
    assert value(samples, "time_per_output_token_seconds_count", model="m") == 0


def test_a_request_that_reached_no_engine_has_no_overhead(metrics: Metrics) -> None:
    metrics.ended(ended(sent=False), 103.0)
    samples = scraped(metrics)
    assert value(samples, "overhead_seconds_count", model="m") == 0
    assert value(samples, "tokens_total", model="m", type="input") == 0


def test_buckets_add_up_and_a_bound_belongs_to_its_bucket(metrics: Metrics) -> None:
    for seconds in (0.001, 0.0011, 99.0):
        metrics.lagged(seconds)
    samples = scraped(metrics)
    assert value(samples, "event_loop_lag_seconds_bucket", le="0.001") == 1
    assert value(samples, "event_loop_lag_seconds_bucket", le="0.0025") == 2
    assert value(samples, "event_loop_lag_seconds_bucket", le="2.5") == 2
    assert value(samples, "event_loop_lag_seconds_bucket", le="+Inf") == 3
    assert value(samples, "event_loop_lag_seconds_count") == 3


def test_pools_are_read_when_they_are_asked_for(metrics: Metrics, registry: Registry) -> None:
    pool = registry.find("m")
    pool.tokens_in_flight = 9
    pool.replicas[0].in_flight = 2
    pool.replicas[0].set_ready(ready=False, state="failing")
    samples = scraped(metrics)
    assert value(samples, "tokens_in_flight", model="m") == 9
    assert value(samples, "replica_in_flight", model="m", replica="m-0") == 2
    assert value(samples, "replica_ready", model="m", replica="m-0") == 0


def test_what_the_gateway_is(metrics: Metrics) -> None:
    assert value(scraped(metrics), "build_info", version="1.2", commit="abc") == 1
    assert value(scraped(metrics), "config_last_reload_successful") == 1
    metrics.last_reload_successful = False
    assert value(scraped(metrics), "config_last_reload_successful") == 0


def test_requests_for_no_model_are_counted_as_unknown(metrics: Metrics) -> None:
    metrics.ended(ended("unknown", sent=False), 103.0)
    samples = scraped(metrics)
    assert value(samples, "requests_total", model="unknown", endpoint="/v1/chat/completions", code="200") == 1
    assert repr(metrics) == "<Metrics [1 requests of 3 models]>"


def test_what_others_counted_is_added(metrics: Metrics, registry: Registry) -> None:
    other = Metrics(lambda: registry, "1.2", "abc")
    for each in (metrics, other):
        each.ended(ended(tokens=5), 103.0)
        each.lagged(0.002)
    other.of("m").attempts["ok"]["m-0"] += 1
    metrics.add(other.snapshot())
    samples = scraped(metrics)
    chat = {"model": "m", "endpoint": "/v1/chat/completions"}
    assert value(samples, "requests_total", code="200", **chat) == 2
    assert value(samples, "request_duration_seconds_sum", **chat) == 6.0
    assert value(samples, "tokens_total", model="m", type="output") == 10
    assert value(samples, "upstream_attempts_total", model="m", replica="m-0", outcome="ok") == 1
    assert value(samples, "event_loop_lag_seconds_bucket", le="0.0025") == 2


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "ok"), (429, "ok"), (500, "failed"), (502, "failed"), (503, "full")]
)
def test_an_engine_that_is_full_has_not_failed(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
