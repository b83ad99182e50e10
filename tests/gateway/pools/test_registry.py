"""A name or an alias leads to a model, and through it to a pool."""

from __future__ import annotations

import pytest

from gateway.core.errors import ModelNotFound
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from tests.gateway.pools.made import model, replica
from tests.kit.waiters import Waiter


def test_a_model_is_found_by_its_name_and_by_its_alias() -> None:
    made, other = model("m", aliases=["gpt-4o"]), model("n")
    registry = Registry([made, other])
    assert registry.find("m") is registry.find("gpt-4o") is made
    assert list(registry.names.items()) == [("m", made), ("n", other), ("gpt-4o", made)]
    assert registry.models == (made, other)


def test_an_unknown_model_is_told_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match=r"'x' does not exist here; the models are: m, gpt-4o\."):
        Registry([model("m", aliases=["gpt-4o"])]).find("x")
    with pytest.raises(ModelNotFound, match=r"the models are: none\."):
        Registry([]).find("x")


def test_a_very_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(ModelNotFound) as refused:
        Registry([]).find("x" * 1_000_000)
    assert len(refused.value.message) < 400


def test_what_a_model_cannot_do_names_the_models_that_can() -> None:
    chat, embedder = model("chat"), model("embedder", tasks=("embed", "score"))
    registry = Registry([chat, embedder])
    refusal = registry.unable(chat, "embed", "/v1/embeddings", lambda _: True)
    assert refusal.message == "The model 'chat' does not support /v1/embeddings; these can: embedder."
    assert (refusal.param, refusal.code) == ("model", "unsupported_endpoint")
    assert "no model here can" in registry.unable(chat, "transcribe", "/v1/audio", lambda _: True).message


def test_a_pool_that_several_models_share_is_there_once() -> None:
    base = model("base", replica("base-0"))
    adapter = Model("adapter", base.pool, tasks=["generate"])
    alone = model("alone", replica("alone-0"))
    registry = Registry([base, adapter, alone])
    assert registry.pools == (base.pool, alone.pool)
    assert [each.name for each in registry.replicas] == ["base-0", "alone-0"]
    assert repr(registry) == f"<Registry of 3 models [{base.pool!r}, {alone.pool!r}]>"


def test_replicas_at_one_address_have_one_pool_of_connections() -> None:
    shared, other = replica("a"), replica("b")
    registry = Registry([model("m", shared, other), model("n", shared)])
    assert registry.connection_pools == (shared.connections, other.connections)


def test_the_connections_of_a_replica_that_is_removed_are_not_kept_unless_another_has_them_too() -> None:
    shared, other = replica("a"), replica("b")
    first, second = model("m", shared, other), model("n", shared)
    registry = Registry([first, second])
    for gone in (shared, other):
        first.pool.remove(gone)
    assert registry.connection_pools == (shared.connections,)
    assert (shared.connections.retired, other.connections.retired) == (False, True)
    second.pool.remove(shared)
    assert shared.connections.retired


def test_a_tick_removes_what_has_drained() -> None:
    leaving = replica("a")
    drained = model("m", leaving, replica("b"))
    registry = Registry([drained, model("n")])
    registry.tick(0.0)
    drained.pool.drain(leaving)
    registry.tick(0.0)
    assert [each.name for each in registry.replicas] == ["b"]


def test_a_pool_that_closes_keeps_its_replicas_until_its_last_request_has_ended() -> None:
    left = replica("a")
    closing = model("m", left).pool
    registry = Registry([model("n")], [closing])
    closing.admission.admit(Waiter())
    registry.tick(0.0)
    assert (left.state, registry.closing) == ("ready", (closing,))
    closing.admission.release(Waiter())
    for _ in range(2):
        registry.tick(0.0)
    assert (left.state, registry.closing) == ("stopped", ())


def test_nothing_is_forgotten_before_all_who_send_requests_know_of_it() -> None:
    leaving, left = replica("a"), replica("b")
    drained, closing = model("m", leaving, replica("c")), model("n", left).pool
    registry = Registry([drained], [closing])
    drained.pool.drain(leaving)
    known: list[object] = []
    for knows, states in (
        (None, ("draining", "ready")),
        (leaving, ("stopped", "ready")),
        (closing, ("stopped", "draining")),
        (left, ("stopped", "stopped")),
    ):
        known.append(knows)
        registry.tick(0.0, known.__contains__)
        assert (leaving.state, left.state) == states
