"""What pools have to do is shown once for each pool."""

from __future__ import annotations

from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.pools.replica import ReplicaState
from tests.gateway.observe.scraping import scraped, value
from tests.gateway.pools.made import model, replica
from tests.kit.waiters import Waiter


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
