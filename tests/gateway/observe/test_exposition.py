"""What is counted is what Prometheus reads, from the start and for configured models only."""

from __future__ import annotations

from time import perf_counter

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.context import RequestContext, RequestHead
from gateway.files.store import FileCounts
from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.discovered import Discovered
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.pools.replica import ReplicaState
from gateway.scaling.decide import ScalingRule
from gateway.scaling.scaler import ScaledModel
from tests.gateway.pools.made import model, replica
from tests.kit.waiters import Waiter

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def registry() -> Registry:
    return Registry([model("m", replica("m-0")), model("none")])


@pytest.fixture
def metrics() -> Counters:
    return Counters()


@pytest.fixture
def exposition(registry: Registry, metrics: Counters) -> Exposition:
    return Exposition(lambda: metrics, lambda: registry, "1.2", "abc")


def scraped(exposition: Exposition) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(exposition)
        for sample in family.samples
    }


def families(exposition: Exposition) -> list[Metric]:
    return list(text_string_to_metric_families(exposition.text().decode()))


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


@pytest.mark.parametrize("name", ["m", "none"])
def test_every_series_of_a_configured_model_exists_from_the_start(exposition: Exposition, name: str) -> None:
    samples = scraped(exposition)
    chat = {"model": name, "endpoint": "/v1/chat/completions"}
    for code in (200, 500, 502, 503, 504):
        assert value(samples, "requests_total", code=str(code), **chat) == 0
    assert value(samples, "request_duration_seconds_count", **chat) == 0
    for family in ("time_to_first_token", "time_per_output_token", "queue_duration", "overhead"):
        assert value(samples, f"{family}_seconds_count", model=name) == 0
    for kind in ("input", "output", "cached"):
        assert value(samples, "tokens_total", model=name, type=kind) == 0
    for outcome in ("admitted", "queued", "refused", "shed", "timeout"):
        assert value(samples, "admissions_total", model=name, outcome=outcome) == 0
    for reason in ("client_left", "client_stalled", "timeout", "drain", "hedged"):
        assert value(samples, "upstream_aborts_total", model=name, reason=reason) == 0
    for outcome in ("retried", "over_budget"):
        assert value(samples, "retries_total", model=name, outcome=outcome) == 0
    for outcome in ("recovered", "failed", "ineligible", "no_replica", "over_budget", "aborted"):
        assert value(samples, "stream_recoveries_total", model=name, outcome=outcome) == 0
    for family in ("running", "waiting"):
        assert value(samples, f"requests_{family}", model=name) == 0
    for family in ("oldest_waiting_seconds", "tokens_in_flight", "pool_saturation"):
        assert value(samples, family, model=name) == 0


def test_a_pool_whose_replicas_are_discovered_shows_what_its_source_told(
    exposition: Exposition, registry: Registry
) -> None:
    pool, without = registry.pools
    pool.discovered = Discovered("file a", ("http://a", "http://b"), succeeded_at=perf_counter(), errors=3)
    samples = scraped(exposition)
    assert value(samples, "discovered_replicas", model="m") == 2
    assert value(samples, "discovery_errors_total", model="m") == 3
    assert value(samples, "discovery_age_seconds", model="m") < 60
    assert not [name for name, labels in samples if "discover" in name and ("model", without.name) in labels]


def test_the_families_are_the_published_ones(exposition: Exposition) -> None:
    assert {family.name.removeprefix("headgate_") for family in families(exposition)} == {
        "requests",
        "desired_replicas",
        "scaling_decisions",
        "cold_start_seconds",
        "retries",
        "fallbacks",
        "stream_recoveries",
        "ejections",
        "probe_failures",
        "lease_mismatch",
        "request_duration_seconds",
        "time_to_first_token_seconds",
        "time_per_output_token_seconds",
        "queue_duration_seconds",
        "overhead_seconds",
        "tokens",
        "key_tokens",
        "key_refusals",
        "requests_running",
        "requests_waiting",
        "demand",
        "oldest_waiting_seconds",
        "tokens_in_flight",
        "pool_saturation",
        "admissions",
        "upstream_aborts",
        "upstream_attempts",
        "file_bytes",
        "files_expired",
        "request_body_bytes",
        "limit_refusals",
        "event_loop_lag_seconds",
        "trace_spans",
        "slo_requests",
        "slo_seconds",
        "replica_restarts",
        "client_connections",
        "limits_shared",
        "access_log_lost_lines",
        "replica_ready",
        "replica_in_flight",
        "replicas",
        "process_cpu_seconds",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "config_last_reload_successful",
        "build_info",
        "model_info",
        "discovered_replicas",
        "discovery_errors",
        "discovery_age_seconds",
        "adapter_loaded",
    }


def test_each_replica_has_its_series_from_the_start(exposition: Exposition) -> None:
    samples = scraped(exposition)
    assert value(samples, "replica_ready", model="m", replica="m-0") == 1
    assert value(samples, "replica_in_flight", model="m", replica="m-0") == 0
    for outcome in ("ok", "failed"):
        assert value(samples, "upstream_attempts_total", model="m", replica="m-0", outcome=outcome) == 0


def test_no_series_ever_goes_away(exposition: Exposition, metrics: Counters) -> None:
    before = scraped(exposition).keys()
    other = ended()
    other.head.endpoint, other.status = "/classify", 503
    metrics.ended(other, 103.0)
    metrics.of("m").attempts["timeout"]["m-0"] += 1
    assert before < scraped(exposition).keys()


def test_a_request_is_counted_with_its_times_and_tokens(exposition: Exposition, metrics: Counters) -> None:
    metrics.ended(ended(tokens=5), 103.0)
    samples = scraped(exposition)
    chat = {"model": "m", "endpoint": "/v1/chat/completions"}
    assert value(samples, "requests_total", code="200", **chat) == 1
    assert value(samples, "request_duration_seconds_sum", **chat) == 3.0
    assert value(samples, "time_to_first_token_seconds_sum", model="m") == 1.0
    assert value(samples, "time_per_output_token_seconds_sum", model="m") == 0.5
    assert value(samples, "queue_duration_seconds_sum", model="m") == 0.125
    assert value(samples, "overhead_seconds_sum", model="m") == 0.125
    tokens = [value(samples, "tokens_total", model="m", type=kind) for kind in ("input", "output", "cached")]
    assert tokens == [7, 5, 2]


def test_one_token_has_no_time_per_token(exposition: Exposition, metrics: Counters) -> None:
    metrics.ended(ended(tokens=1), 103.0)
    samples = scraped(exposition)
    assert value(samples, "time_to_first_token_seconds_count", model="m") == 1
    assert value(samples, "time_per_output_token_seconds_count", model="m") == 0


def test_a_request_that_reached_no_engine_has_no_overhead(exposition: Exposition, metrics: Counters) -> None:
    metrics.ended(ended(sent=False), 103.0)
    samples = scraped(exposition)
    assert value(samples, "overhead_seconds_count", model="m") == 0
    assert value(samples, "tokens_total", model="m", type="input") == 0


def test_buckets_add_up_and_a_bound_belongs_to_its_bucket(exposition: Exposition, metrics: Counters) -> None:
    for seconds in (0.001, 0.0011, 99.0):
        metrics.lagged(seconds)
    samples = scraped(exposition)
    assert value(samples, "event_loop_lag_seconds_bucket", le="0.001") == 1
    assert value(samples, "event_loop_lag_seconds_bucket", le="0.0025") == 2
    assert value(samples, "event_loop_lag_seconds_bucket", le="2.5") == 2
    assert value(samples, "event_loop_lag_seconds_bucket", le="+Inf") == 3
    assert value(samples, "event_loop_lag_seconds_count") == 3


def test_pools_are_read_when_they_are_asked_for(exposition: Exposition, registry: Registry) -> None:
    pool = registry.find("m").pool
    pool.tokens_in_flight = 9
    pool.replicas[0].load.entered()
    pool.replicas[0].load.entered()
    pool.replicas[0].set_state(ReplicaState.FAILING)
    samples = scraped(exposition)
    assert value(samples, "tokens_in_flight", model="m") == 9
    assert value(samples, "replica_in_flight", model="m", replica="m-0") == 2
    assert value(samples, "replica_ready", model="m", replica="m-0") == 0


def test_bytes_of_files_and_those_that_expired(exposition: Exposition, metrics: Counters) -> None:
    metrics.files.add(FileCounts(received_bytes=3, sent_bytes=2, expired=1))
    samples = scraped(exposition)
    assert value(samples, "file_bytes_total", direction="received") == 3
    assert value(samples, "file_bytes_total", direction="sent") == 2
    assert value(samples, "files_expired_total") == 1


def test_what_the_gateway_is(exposition: Exposition) -> None:
    assert value(scraped(exposition), "build_info", version="1.2", commit="abc") == 1
    assert value(scraped(exposition), "config_last_reload_successful") == 1
    exposition.last_reload_successful = False
    assert value(scraped(exposition), "config_last_reload_successful") == 0


def test_requests_for_no_model_are_counted_as_unknown(exposition: Exposition, metrics: Counters) -> None:
    metrics.ended(ended("unknown", sent=False), 103.0)
    samples = scraped(exposition)
    assert value(samples, "requests_total", model="unknown", endpoint="/v1/chat/completions", code="200") == 1


def test_a_pool_that_models_share_is_shown_once_and_its_models_name_it(metrics: Counters) -> None:
    base = model("base", replica("base-0"))
    adapter = Model("adapter", base.pool, tasks=["generate"])
    registry = Registry([base, adapter])
    assert base.pool.admission.admit(Waiter())
    metrics.of("adapter").attempts["ok"]["base-0"] += 1
    samples = scraped(Exposition(lambda: metrics, lambda: registry, "1.2", "abc"))
    running = {labels: number for (name, labels), number in samples.items() if name == "headgate_requests_running"}
    assert running == {(("model", "base"),): 1}
    assert value(samples, "model_info", model="base", pool="base") == 1
    assert value(samples, "model_info", model="adapter", pool="base") == 1
    assert value(samples, "replica_ready", model="base", replica="base-0") == 1
    assert value(samples, "upstream_attempts_total", model="base", replica="base-0", outcome="ok") == 0
    assert value(samples, "upstream_attempts_total", model="adapter", replica="base-0", outcome="ok") == 1
    assert value(samples, "tokens_total", model="adapter", type="input") == 0


def test_keys_are_shown_by_group(exposition: Exposition, metrics: Counters) -> None:
    metrics.key_input_tokens["team"] += 5
    metrics.key_output_tokens["team"] += 7
    metrics.key_refused("team", "tokens_per_day")
    samples = scraped(exposition)
    assert value(samples, "key_tokens_total", group="team", type="input") == 5
    assert value(samples, "key_tokens_total", group="team", type="output") == 7
    assert value(samples, "key_refusals_total", group="team", reason="tokens_per_day") == 1


def test_a_scaled_model_shows_how_many_replicas_it_is_to_have_and_why(
    exposition: Exposition, registry: Registry
) -> None:
    assert not [name for name, _ in scraped(exposition) if "desired" in name]
    scaled = ScaledModel("m", ScalingRule(0, 4, 8.0, 300.0), registry.find("m").pool, 2)
    scaled.decisions["wake"] = 3
    exposition.scaled = lambda: [scaled]
    samples = scraped(exposition)
    assert value(samples, "desired_replicas", model="m") == 2
    assert value(samples, "scaling_decisions_total", model="m", reason="wake") == 3
    assert value(samples, "scaling_decisions_total", model="m", reason="idle") == 0
    assert not [name for name, _ in samples if "cold_start" in name]
    scaled.start_seconds = 12.5
    assert value(scraped(exposition), "cold_start_seconds", model="m") == 12.5


def test_objectives_are_shown_with_what_met_them(metrics: Counters) -> None:
    registry = Registry([model("m", replica("m-0"), slo={"ttft": 0.5, "e2e": 10.0}), model("other", replica("o-0"))])
    metrics.set_objectives({each.name: each.slo for each in registry.models})
    metrics.ended(ended(tokens=3), 103.0)
    samples = scraped(Exposition(lambda: metrics, lambda: registry, "1.2", "abc"))
    assert value(samples, "slo_seconds", model="m", slo="ttft") == 0.5
    shown = {labels: number for (name, labels), number in samples.items() if name == "headgate_slo_requests_total"}
    assert {tuple(text for _, text in labels): number for labels, number in shown.items()} == {
        ("m", "met", "e2e"): 1,
        ("m", "missed", "e2e"): 0,
        ("m", "met", "ttft"): 0,
        ("m", "missed", "ttft"): 1,
    }


def test_connections_and_lost_lines_of_the_log_are_shown(registry: Registry, metrics: Counters) -> None:
    metrics.lost_log_lines = 3
    metrics.wire.connections = 7
    samples = scraped(Exposition(lambda: metrics, lambda: registry, "1.2", "abc"))
    assert value(samples, "client_connections") == 7
    assert value(samples, "access_log_lost_lines_total") == 3


def test_restarts_of_engines_are_counted_once_each(registry: Registry, exposition: Exposition) -> None:
    restarted = registry.replicas[0]
    for state in (ReplicaState.RESTARTING, ReplicaState.RESTARTING, ReplicaState.READY, ReplicaState.RESTARTING):
        restarted.set_state(state, f"{state} again")
    samples = scraped(exposition)
    counted = [number for (name, _), number in samples.items() if name == "headgate_replica_restarts_total"]
    assert sorted(counted)[-1] == 2
    assert sum(counted) == 2


def test_no_series_belongs_to_two_families(exposition: Exposition, metrics: Counters) -> None:
    metrics.ended(ended(tokens=3), 103.0)
    text = exposition.text(openmetrics=True).decode()
    # The parser refuses names that clash, such as a counter that is called like the count of a histogram.
    read = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert len({family.name for family in read}) == len(read)
