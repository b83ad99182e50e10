"""What is counted is what Prometheus reads, from the start and for configured models only."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from tests.gateway.observe.scraping import ended, families, scraped, value
from tests.gateway.pools.made import model


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


def test_the_families_are_the_published_ones(exposition: Exposition) -> None:
    assert {family.name.removeprefix("headgate_") for family in families(exposition)} == {
        "requests",
        "desired_replicas",
        "scaling_decisions",
        "cold_start_seconds",
        "scaling_contested",
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
        "ray_up",
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
        "batches",
        "batches_ended",
        "batch_lines",
        "fine_tuning_jobs",
        "fine_tuning_jobs_ended",
        "batch_lines_in_flight",
    }


def test_no_series_ever_goes_away(exposition: Exposition, metrics: Counters) -> None:
    before = scraped(exposition).keys()
    other = ended()
    other.head.endpoint, other.status = "/classify", 503
    metrics.ended(other, 103.0)
    metrics.of("m").attempts["timeout"]["m-0"] += 1
    assert before < scraped(exposition).keys()


def test_no_series_belongs_to_two_families(exposition: Exposition, metrics: Counters) -> None:
    metrics.ended(ended(tokens=3), 103.0)
    text = exposition.text(openmetrics=True).decode()
    # The parser refuses names that clash, such as a counter that is called like the count of a histogram.
    read = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert len({family.name for family in read}) == len(read)


def test_many_models_are_written_piece_by_piece() -> None:
    counters = Counters()
    registry = Registry([model(f"m-{number}") for number in range(60)])
    pieces = list(Exposition(lambda: counters, lambda: registry, "1.2", "abc").pieces(openmetrics=True))
    assert max(map(len, pieces)) < sum(map(len, pieces)) / 4
    parsed = parse_openmetrics(b"".join(pieces).decode())  # type: ignore[no-untyped-call]
    models = [sample.labels.get("model") for family in parsed for sample in family.samples]
    assert models.count("m-59") == models.count("m-0") > 100
