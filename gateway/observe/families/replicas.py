"""Replicas: their states, how many there are to be, where they come from, and what went wrong with them."""

from __future__ import annotations

from typing import get_args

from gateway.observe.families.row import MODEL, REPLICA, Row, Scrape, per_discovery, per_replica
from gateway.observe.text_format import Kind, Samples
from gateway.pools.replica import ReplicaState
from gateway.scaling.decide import KEEPING, Reason

_STATES = [(state, state.value) for state in ReplicaState]


def _decisions(scrape: Scrape) -> Samples:
    for model in scrape.scaled:
        for reason in get_args(Reason):
            if reason not in KEEPING:
                yield (model.name, reason), model.decisions[reason]


def _ejections(scrape: Scrape) -> Samples:
    for pool in scrape.registry.pools:
        for replica in pool.replicas:
            yield from (((pool.name, replica.name, cause), number) for cause, number in replica.ejections.items())


def _replica_states(scrape: Scrape) -> Samples:
    for pool in scrape.registry.pools:
        states = [replica.state for replica in pool.replicas]
        yield from (((pool.name, name), states.count(state)) for state, name in _STATES)


def _model_info(scrape: Scrape) -> Samples:
    return (((model.name, model.pool.name), 1.0) for model in scrape.registry.models)


def _adapters_loaded(scrape: Scrape) -> Samples:
    for model in scrape.registry.models:
        if model.parent is not None:
            for replica in model.pool.replicas:
                yield (model.name, replica.name), float(model.upstream_name in replica.adapters)


REPLICAS = (
    Row(
        Kind.GAUGE,
        "replica_ready",
        "Whether a replica gets requests.",
        REPLICA,
        per_replica(lambda replica: float(replica.ready)),
    ),
    Row(
        Kind.GAUGE,
        "replicas",
        "Replicas of a pool, by their state.",
        ("model", "state"),
        _replica_states,
    ),
    Row(
        Kind.GAUGE,
        "desired_replicas",
        "Replicas that a scaled model is to have.",
        MODEL,
        lambda scrape: [((each.name,), each.desired) for each in scrape.scaled],
    ),
    Row(
        Kind.COUNTER,
        "scaling_decisions",
        "Changes of the number of desired replicas, by their reason.",
        ("model", "reason"),
        _decisions,
    ),
    Row(
        Kind.GAUGE,
        "scaling_contested",
        "Whether another gateway on this machine scales the model too.",
        MODEL,
        lambda scrape: [((each.name,), float(each.contested)) for each in scrape.scaled],
    ),
    Row(
        Kind.GAUGE,
        "cold_start_seconds",
        "How long the last start of a replica, or its waking, took until it was ready.",
        MODEL,
        lambda scrape: [((each.name,), each.start_seconds) for each in scrape.scaled if each.start_seconds],
    ),
    Row(
        Kind.GAUGE,
        "replica_in_flight",
        "Requests in flight at a replica from this gateway.",
        REPLICA,
        per_replica(lambda replica: replica.in_flight),
    ),
    Row(
        Kind.COUNTER,
        "replica_restarts",
        "How often the engine of a replica has ended unasked and was started again.",
        REPLICA,
        per_replica(lambda replica: replica.restarts),
    ),
    Row(
        Kind.GAUGE,
        "discovered_replicas",
        "Replicas that the source of a pool told last.",
        MODEL,
        per_discovery(lambda discovered: len(discovered.urls)),
    ),
    Row(
        Kind.COUNTER,
        "discovery_errors",
        "Failures to learn from the source of a pool which replicas there are.",
        MODEL,
        per_discovery(lambda discovered: discovered.errors),
    ),
    Row(
        Kind.GAUGE,
        "discovery_age_seconds",
        "Time since the source of a pool answered last.",
        MODEL,
        per_discovery(lambda discovered: discovered.age()),
    ),
    Row(
        Kind.COUNTER,
        "ejections",
        "Ejections of a replica because of what requests found, by reason: failures, errors or latency.",
        ("model", "replica", "reason"),
        _ejections,
    ),
    Row(
        Kind.COUNTER,
        "probe_failures",
        "Health probes of a replica that failed.",
        REPLICA,
        per_replica(lambda replica: replica.probe_failures),
    ),
    Row(
        Kind.GAUGE,
        "adapter_loaded",
        "Whether a replica has loaded a LoRA adapter, which is the model of its requests.",
        REPLICA,
        _adapters_loaded,
    ),
    Row(
        Kind.GAUGE,
        "model_info",
        "The pool that answers for a model; always 1. The gauges of a pool have its name as model.",
        ("model", "pool"),
        _model_info,
    ),
)
"""The families, in the order in which they are written."""
