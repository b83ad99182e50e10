"""Texts are embedded once for each file and model, and keep their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.onnx.model.model import Model, load
from engines.onnx.quantize.texts import DataError
from loadtest.bench.labelling.data import embedded, texts_of
from tests.engines.onnx.tiny import write_embedder


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "model").mkdir()
    return load("m", write_embedder(tmp_path / "model"), "embed")


def test_vectors_are_in_the_order_of_their_texts(model: Model) -> None:
    texts = ["cat dog good", "cat", "dog good", "good"] * 20
    alone = np.concatenate([embedded(model, [text]) for text in texts])
    assert embedded(model, texts) == pytest.approx(alone, abs=1e-6)


def test_classes_are_numbers_and_vectors_are_kept(tmp_path: Path, model: Model) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text,label\ncat,pet\ngood,word\ndog,pet\n")
    texts = texts_of(file, model, 10, tmp_path / "cache")
    assert texts.classes.tolist() == [0, 1, 0]
    (kept,) = (tmp_path / "cache").iterdir()
    np.save(kept, np.zeros((3, 3), np.float32))
    assert not texts_of(file, model, 10, tmp_path / "cache").vectors.any()
    file.write_text("text,label\ndog,pet\ngood,word\n")
    assert texts_of(file, model, 10, tmp_path / "cache").vectors.any()


def test_a_label_can_be_left_out(tmp_path: Path, model: Model) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text,label\ncat,a\ngood,none\ndog,b\n")
    found = texts_of(file, model, 10, None, "none")
    assert (found.classes.tolist(), len(found.vectors)) == ([0, 1], 2)
    assert len(texts_of(file, model, 10, None, "unknown").classes) == 3


def test_texts_without_labels_are_of_no_use(tmp_path: Path, model: Model) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text\ncat\n")
    with pytest.raises(DataError, match=r"data\.csv: no text has a label"):
        texts_of(file, model, 10, None)
