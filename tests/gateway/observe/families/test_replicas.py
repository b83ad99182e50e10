"""Replicas are shown with their states, what is desired of them, and where they come from."""

from __future__ import annotations

from time import perf_counter

from gateway.observe.exposition import Exposition
from gateway.pools.discovered import Discovered
from gateway.pools.registry import Registry
from gateway.pools.replica import ReplicaState
from gateway.scaling.decide import ScalingRule
from gateway.scaling.scaler import ScaledModel
from tests.gateway.observe.scraping import scraped, value


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


def test_each_replica_has_its_series_from_the_start(exposition: Exposition) -> None:
    samples = scraped(exposition)
    assert value(samples, "replica_ready", model="m", replica="m-0") == 1
    assert value(samples, "replica_in_flight", model="m", replica="m-0") == 0
    for outcome in ("ok", "failed"):
        assert value(samples, "upstream_attempts_total", model="m", replica="m-0", outcome=outcome) == 0


def test_a_scaled_model_shows_how_many_replicas_it_is_to_have_and_why(
    exposition: Exposition, registry: Registry
) -> None:
    assert not [name for name, _ in scraped(exposition) if "desired" in name]
    scaled = ScaledModel("m", ScalingRule(0, 4, 8.0, 300.0), registry.find("m").pool, 2)
    scaled.decisions["from_zero"] = 3
    exposition.scaled = lambda: [scaled]
    samples = scraped(exposition)
    assert value(samples, "desired_replicas", model="m") == 2
    assert value(samples, "scaling_decisions_total", model="m", reason="from_zero") == 3
    assert value(samples, "scaling_decisions_total", model="m", reason="idle") == 0
    assert not [name for name, _ in samples if "cold_start" in name]
    scaled.start_seconds = 12.5
    assert value(scraped(exposition), "cold_start_seconds", model="m") == 12.5


def test_restarts_of_engines_are_counted_once_each(registry: Registry, exposition: Exposition) -> None:
    restarted = registry.replicas[0]
    for state in (ReplicaState.RESTARTING, ReplicaState.RESTARTING, ReplicaState.READY, ReplicaState.RESTARTING):
        restarted.set_state(state, f"{state} again")
    samples = scraped(exposition)
    counted = [number for (name, _), number in samples.items() if name == "headgate_replica_restarts_total"]
    assert sorted(counted)[-1] == 2
    assert sum(counted) == 2
