"""A row reads its series anew at each scrape: per model, per pool and per replica."""

from __future__ import annotations

from time import perf_counter

from gateway.observe.counters import Counters
from gateway.observe.families.row import MODEL, REPLICA, Row, Scrape, per_model, per_model_and, per_pool, per_replica
from gateway.observe.text_format import Kind
from gateway.pools.registry import Registry
from tests.gateway.pools.made import model, replica


def scrape() -> Scrape:
    registry, counters = Registry([model("b", replica("b-0", in_flight=2)), model("a")]), Counters()
    for name in ("b", "a"):
        counters.of(name).retries["retried"] += 3
    loads = [(pool, pool.load(perf_counter())) for pool in registry.pools]
    models = sorted(counters.models().items())
    return Scrape(
        registry,
        counters,
        models,
        loads,
        ("1", "abc"),
        reloaded=True,
        scaled=(),
        limits_shared=None,
        ray_up=None,
        tuning_jobs=None,
    )


def test_a_row_becomes_a_family() -> None:
    row = Row(Kind.GAUGE, "x", "What it is.", (), lambda scrape: [((), float(len(scrape.configured)))])
    assert row.read(scrape()) == (Kind.GAUGE, "headgate_x", "What it is.", (), [((), 2.0)])


def test_models_are_in_the_order_of_their_names_and_pools_and_replicas_as_configured() -> None:
    seen = scrape()
    assert [labels for labels, _ in per_model(lambda metrics: metrics.waits)(seen)] == [("a",), ("b",)]
    retried = per_model_and(lambda metrics: {"retried": metrics.retries["retried"], "held": 0})
    assert list(retried(seen)) == [(("a", "held"), 0), (("a", "retried"), 3), (("b", "held"), 0), (("b", "retried"), 3)]
    assert list(per_pool(lambda pool, _: len(pool.replicas))(seen)) == [(("b",), 1), (("a",), 0)]
    assert list(per_replica(lambda each: each.in_flight)(seen)) == [(("b", "b-0"), 2)]
    assert (MODEL, REPLICA) == (("model",), ("model", "replica"))
