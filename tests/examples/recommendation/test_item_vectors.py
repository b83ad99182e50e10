"""Vectors of texts: asked in batches, kept, and embedded anew when the model changes."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import numpy as np
import openai
import pytest

from examples.recommendation.item_vectors import BATCH, VectorStore, default_folder


class Embedder:
    """Answers as ``/v1/embeddings`` does: a text's vector is its length, and one number for the model."""

    def __init__(self, model_number: float = 1.0, refuse: str = "") -> None:
        self.asked: list[list[str]] = []
        self.model_number = model_number
        self.refuse = refuse

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        asked = json.loads(request.content)
        if self.refuse and self.refuse in asked["input"]:
            return httpx2.Response(400, json={"error": {"message": "refused"}})
        assert asked["truncate_prompt_tokens"] == -1
        self.asked.append(asked["input"])
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), self.model_number]}
            for index, text in enumerate(asked["input"])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return httpx2.Response(200, json={"object": "list", "model": "minilm", "data": data, "usage": usage})

    def texts(self) -> list[str]:
        return [text for batch in self.asked for text in batch if not text.startswith("a text whose")]


def store(folder: Path, embedder: Embedder) -> VectorStore:
    http_client = httpx2.Client(transport=httpx2.MockTransport(embedder.answer))
    return VectorStore(folder, openai.OpenAI(base_url="http://gateway/v1", api_key="x", http_client=http_client), "m:1")


def test_each_text_has_its_vector_of_length_one(tmp_path: Path) -> None:
    vectors = store(tmp_path, Embedder()).vectors(["aaa", "b", "aaa"])
    np.testing.assert_allclose(vectors[0], np.array([3, 1]) / np.sqrt(10), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert (vectors[0] == vectors[2]).all()


def test_texts_are_asked_in_batches_and_once(tmp_path: Path) -> None:
    embedder = Embedder()
    texts = [f"text {number}" for number in range(2 * BATCH + 1)]
    store(tmp_path, embedder).vectors(texts)
    assert [len(batch) for batch in embedder.asked] == [1, BATCH, BATCH, 1]
    later = Embedder()
    vectors = store(tmp_path, later).vectors([*texts, "a new one"])
    assert later.texts() == ["a new one"]
    assert len(vectors) == len(texts) + 1


def test_another_model_of_the_same_name_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, Embedder()).vectors(["a", "b"])
    other = Embedder(model_number=100.0)
    store(tmp_path, other).vectors(["a"])
    assert other.texts() == ["a"]
    assert "m:1 is another model than before" in capsys.readouterr().err


def test_what_was_embedded_before_an_error_is_kept(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(BATCH + 1)]
    with pytest.raises(openai.BadRequestError):
        store(tmp_path, Embedder(refuse=texts[-1])).vectors(texts)
    later = Embedder()
    store(tmp_path, later).vectors(texts)
    assert later.texts() == texts[-1:]


def test_the_folder_follows_the_desktop_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/headgate/examples")
