"""A model's name leads to its pool, and a pool knows which of its replicas may be asked."""

from __future__ import annotations

import pytest

from gateway.core.errors import ModelNotFound
from gateway.pools.registry import Registry
from tests.gateway.pools.made import pool


def test_a_model_is_found_by_its_name_and_by_its_alias() -> None:
    made = pool("m")
    registry = Registry([made], {"gpt-4o": "m"})
    assert registry.find("m") is registry.find("gpt-4o") is made
    assert [name for name, _ in registry.names] == ["m", "gpt-4o"]
    assert list(registry) == [made]


def test_an_unknown_model_is_told_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match=r"'x' does not exist here; the models are: m, gpt-4o\."):
        Registry([pool("m")], {"gpt-4o": "m"}).find("x")
    with pytest.raises(ModelNotFound, match=r"the models are: none\."):
        Registry([]).find("x")


def test_a_very_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(ModelNotFound) as refused:
        Registry([]).find("x" * 1_000_000)
    assert len(refused.value.message) < 400


def test_what_a_model_cannot_do_names_the_models_that_can() -> None:
    chat, embedder = pool("chat"), pool("embedder", tasks=("embed", "score"))
    registry = Registry([chat, embedder])
    refusal = registry.unable(chat, "embed", "/v1/embeddings", lambda _: True)
    assert refusal.message == "The model 'chat' does not support /v1/embeddings; these can: embedder."
    assert (refusal.param, refusal.code) == ("model", "unsupported_endpoint")
    assert (
        "no model here can" in registry.unable(chat, "transcribe", "/v1/audio/transcriptions", lambda _: True).message
    )
