"""What a row of the tables of metrics is, what it reads, and the kinds of series that many families have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from gateway.observe.counters import Counters, Histogram, ModelMetrics
from gateway.observe.text_format import Family, Kind, Samples
from gateway.pools.discovered import Discovered
from gateway.pools.pool import Load, Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.scaling.scaler import ScaledModel
from gateway.tuning.job_tally import JobTally

MODEL = ("model",)
REPLICA = ("model", "replica")
"""The labels that most families have."""


class Scrape(NamedTuple):
    """All that one scrape reads."""

    registry: Registry
    counters: Counters
    models: Sequence[tuple[str, ModelMetrics]]
    loads: Sequence[tuple[Pool, Load]]
    build: tuple[str, str]
    reloaded: bool
    scaled: Collection[ScaledModel]
    limits_shared: bool | None
    ray_up: bool | None
    tuning_jobs: JobTally | None

    @property
    def configured(self) -> set[str]:
        """The names of the models that the configuration has."""
        return {model.name for model in self.registry.models}


class Row(NamedTuple):
    """One family: its name without the prefix, its help, the names of its labels, and its series."""

    kind: Kind
    name: str
    documentation: str
    labels: Sequence[str]
    samples: Callable[[Scrape], Samples]

    def read(self, scrape: Scrape) -> Family:
        """Fill the family in."""
        return Family(self.kind, f"headgate_{self.name}", self.documentation, self.labels, self.samples(scrape))


def per_model(get: Callable[[ModelMetrics], Histogram]) -> Callable[[Scrape], Samples]:
    """Make the series of a histogram that each model has once."""
    return lambda scrape: (((name,), get(metrics)) for name, metrics in scrape.models)


def per_model_and(get: Callable[[ModelMetrics], dict[str, int]]) -> Callable[[Scrape], Samples]:
    """Make the series of a counter that each model has for several values of one more label."""
    return lambda scrape: (
        ((name, value), number) for name, metrics in scrape.models for value, number in sorted(get(metrics).items())
    )


def per_pool(get: Callable[[Pool, Load], float]) -> Callable[[Scrape], Samples]:
    """Make the series of a gauge that each pool has once."""
    return lambda scrape: (((pool.name,), get(pool, load)) for pool, load in scrape.loads)


def per_replica(get: Callable[[Replica], float]) -> Callable[[Scrape], Samples]:
    """Make the series of a gauge that each replica has once."""
    return lambda scrape: (
        ((pool.name, replica.name), get(replica)) for pool in scrape.registry.pools for replica in pool.replicas
    )


def per_discovery(get: Callable[[Discovered], float]) -> Callable[[Scrape], Samples]:
    """Make the series of a metric that each pool has whose replicas are discovered."""
    return lambda scrape: (
        ((pool.name,), get(pool.discovered)) for pool in scrape.registry.pools if pool.discovered is not None
    )
