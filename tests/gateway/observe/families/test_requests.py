"""What is counted of requests is shown per model."""

from __future__ import annotations

from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from tests.gateway.observe.scraping import ended, scraped, value
from tests.gateway.pools.made import model, replica


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


def test_requests_for_no_model_are_counted_as_unknown(exposition: Exposition, metrics: Counters) -> None:
    metrics.ended(ended("unknown", sent=False), 103.0)
    samples = scraped(exposition)
    assert value(samples, "requests_total", model="unknown", endpoint="/v1/chat/completions", code="200") == 1


def test_keys_are_shown_by_group(exposition: Exposition, metrics: Counters) -> None:
    metrics.key_input_tokens["team"] += 5
    metrics.key_output_tokens["team"] += 7
    metrics.key_refused("team", "tokens_per_day")
    samples = scraped(exposition)
    assert value(samples, "key_tokens_total", group="team", type="input") == 5
    assert value(samples, "key_tokens_total", group="team", type="output") == 7
    assert value(samples, "key_refusals_total", group="team", reason="tokens_per_day") == 1


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
