"""Counters of two models, one without replicas, and what is shown of them."""

from __future__ import annotations

import pytest

from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from tests.gateway.pools.made import model, replica


@pytest.fixture
def registry() -> Registry:
    return Registry([model("m", replica("m-0")), model("none")])


@pytest.fixture
def metrics() -> Counters:
    return Counters()


@pytest.fixture
def exposition(registry: Registry, metrics: Counters) -> Exposition:
    return Exposition(lambda: metrics, lambda: registry, "1.2", "abc")
