"""A mix says which kinds of requests there are, how often each comes, and which model each asks."""

from __future__ import annotations

from collections import Counter

import pytest

from loadtest.mix import MixError, Part, drawn, mix, weights


def test_one_workload_and_one_model_is_the_simple_case() -> None:
    assert mix({"chat": 1.0}, ["sim"]) == [Part("chat", "sim", 1.0)]


def test_each_kind_may_have_a_model_of_its_own_and_the_rest_shares_one() -> None:
    assert mix(weights("chat=6, embeddings=3,classify=1"), ["embeddings=minilm", "sim"]) == [
        Part("chat", "sim", 0.6),
        Part("embeddings", "minilm", 0.3),
        Part("classify", "sim", 0.1),
    ]


def test_a_models_name_may_look_like_an_assignment() -> None:
    assert mix({"chat": 1.0}, ["v=2"]) == [Part("chat", "v=2", 1.0)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "'' is not a workload; there are chat, completions, embeddings, classify"),
        ("talk=1", "'talk' is not a workload"),
        ("chat", "'chat' has no weight; one is chat=3, a positive number"),
        ("chat=much", "'chat=much' has no weight"),
        ("chat=-1", "'chat=-1' has no weight"),
        ("chat=nan", "'chat=nan' has no weight"),
        ("chat=1,chat=2", "chat stands in it twice"),
    ],
)
def test_a_mistake_in_a_mix_is_named(given: str, message: str) -> None:
    with pytest.raises(MixError) as caught:
        weights(given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([""], "'' names no model"),
        (["chat="], "'chat=' names no model"),
        (["chat=a"], "embeddings has no model; give --model embeddings=NAME"),
        (["a", "b"], "two models for everything, 'a' and 'b'"),
        (["chat=a", "chat=b", "c"], "chat has two models, 'a' and 'b'"),
        (["a", "classify=b"], "'classify=b': no classify is asked for; the workloads are chat, embeddings"),
    ],
)
def test_a_mistake_in_its_models_is_named(models: list[str], message: str) -> None:
    with pytest.raises(MixError) as caught:
        mix({"chat": 1.0, "embeddings": 1.0}, models)
    assert message in str(caught.value)


def test_kinds_are_drawn_by_their_shares_and_the_seed_decides() -> None:
    parts = mix({"chat": 3.0, "classify": 1.0}, ["m"])
    found = Counter(part.kind for part in drawn(parts, 4000, 1))
    assert found["chat"] == pytest.approx(3000, rel=0.05)
    assert drawn(parts, 100, 1) == drawn(parts, 100, 1) != drawn(parts, 100, 2)
