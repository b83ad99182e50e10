"""The ceiling is what all texts need when they are sorted and nothing is in the way."""

from __future__ import annotations

import pytest

from engines.onnx.model.model import Model, load
from loadtest.bench.onnx.ceiling import batches, ceiling, lone
from tests.engines.onnx.tiny import write_embedder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load("m", write_embedder(tmp_path_factory.mktemp("embedder")), "embed")


def test_batches_are_of_like_lengths_and_within_the_budget() -> None:
    texts = [[1] * length for length in (9, 3, 4, 3, 9, 20)]
    assert [[len(text) for text in batch] for batch in batches(texts, 12)] == [[3, 3, 4], [9], [9], [20]]


def test_every_text_is_in_one_batch() -> None:
    texts = [[length] * (1 + length % 7) for length in range(100)]
    assert sorted(text[0] for batch in batches(texts, 16) for text in batch) == list(range(100))


def test_the_ceiling_is_a_speed_of_all_threads(model: Model) -> None:
    found = ceiling(model, [[4] * length for length in range(1, 17)], 2, 0.05)
    assert found.tokens == pytest.approx(found.texts * 8.5)
    assert found.budget in (64, 128, 256, 512)


def test_a_lone_text_is_run_until_the_time_is_over(model: Model) -> None:
    found = lone(model, [4, 5], 0.05)
    assert found
    assert sum(found[:-1]) < 0.05


def test_lone_texts_may_have_pauses_between_them(model: Model) -> None:
    found = lone(model, [4, 5], 0.05, pause=0.02)
    assert 1 <= len(found) <= 3
