"""A text is embedded once; what came before an interruption is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openai
import pytest
from openai import OpenAI

from examples.vectors import Embedder
from tests.examples.fake_models import FakeModels, vector


def asked(models: FakeModels) -> list[str]:
    texts = [text for body in models.bodies("/v1/embeddings") for text in body["input"]]
    return [text for text in texts if not text.startswith("The vector of this text")]


def test_texts_are_asked_for_in_batches_and_once(models: FakeModels, client: OpenAI, tmp_path: Path) -> None:
    file = tmp_path / "cache" / "vectors.npz"
    texts = [f"text {number}" for number in range(150)]
    rows = Embedder(client, "minilm", file).embed([*texts, "text 7"])
    assert np.allclose(rows, [vector(text) for text in [*texts, "text 7"]], atol=1e-6)
    assert [len(body["input"]) for body in models.bodies("/v1/embeddings")] == [1, 64, 64, 22]
    again = Embedder(client, "minilm", file)
    assert np.array_equal(again.embed(texts[:3]), rows[:3])
    again.embed([*texts, "another"])
    assert asked(models)[150:] == ["another"]
    assert repr(again) == f"<Embedder minilm [151 vectors in {file}]>"


def test_vectors_of_another_model_are_others_be_it_under_the_same_name(
    models: FakeModels, client: OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Embedder(client, "minilm", tmp_path / "vectors.npz").embed(["text"])
    monkeypatch.setattr("tests.examples.fake_models.vector", lambda text: [*vector(text)[::-1]])
    Embedder(client, "minilm", tmp_path / "vectors.npz").embed(["text"])
    assert asked(models) == ["text", "text"]


def test_what_came_before_a_failure_is_kept(models: FakeModels, client: OpenAI, tmp_path: Path) -> None:
    models.allowed = 2
    texts = [f"text {number}" for number in range(100)]
    with pytest.raises(openai.BadRequestError):
        Embedder(client, "minilm", tmp_path / "vectors.npz").embed(texts)
    models.allowed = 100
    models.asked.clear()
    assert Embedder(client, "minilm", tmp_path / "vectors.npz").embed(texts).shape == (100, 1021)
    assert asked(models) == texts[64:]


def test_questions_need_not_be_kept(models: FakeModels, client: OpenAI, tmp_path: Path) -> None:
    Embedder(client, "minilm", tmp_path / "vectors.npz").embed(["a question"], keep=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut"])
def test_a_broken_file_is_made_anew(
    models: FakeModels, client: OpenAI, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vectors.npz"
    file.write_bytes(content)
    Embedder(client, "minilm", file).embed(["text"])
    assert "its vectors are made anew" in capsys.readouterr().out
    Embedder(client, "minilm", file).embed(["text"])
    assert asked(models) == ["text"]


def test_a_long_text_is_cut_before_it_is_sent(models: FakeModels, client: OpenAI, tmp_path: Path) -> None:
    Embedder(client, "minilm", tmp_path / "vectors.npz").embed(["word " * 10_000])
    _, body = models.bodies("/v1/embeddings")
    assert len(body["input"][0]) == 2000
    assert body["truncate_prompt_tokens"] == -1
