"""A folder becomes a model only when its parts fit, and the error names the file that does not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engines.onnx.errors import InferenceFailed, ModelError
from engines.onnx.model.model import load
from engines.onnx.model.tasks import Row
from tests.engines.onnx.tiny import (
    BAD,
    CAT,
    GOOD,
    LOGITS,
    VECTORS,
    WORDS,
    table,
    write_classifier,
    write_embedder,
    write_graph,
    write_tokenizer,
)


def plain(rows: Iterable[Row]) -> list[list[float]]:
    return [row.tolist() for row in rows]


def test_a_classifier_answers_after_loading(tmp_path: Path) -> None:
    model = load("m", write_classifier(tmp_path), "classify")
    assert repr(model.task) == "<Classify good, bad>"
    assert plain(model.compute([[GOOD, GOOD], [BAD]])) == [[4, 0], [0, 2]]


def test_an_embedder_answers_after_loading(tmp_path: Path) -> None:
    model = load("m", write_embedder(tmp_path), "embed")
    assert repr(model.task) == "<Embed 3 dimensions>"
    assert plain(model.compute([[CAT, GOOD], [CAT]])) == [[0.5, 1.5, 2], [0, 3, 4]]


def test_its_speed_and_the_size_of_its_batches_are_known_from_the_start(tmp_path: Path) -> None:
    budget = load("m", write_classifier(tmp_path), "classify").budget
    assert budget.rate > 0
    assert budget.tokens % 16 == 0


def test_a_model_of_very_short_texts_is_warmed_up_too(tmp_path: Path) -> None:
    assert load("m", write_classifier(tmp_path), "classify", max_length=3).budget.rate > 0


def test_the_operators_limit_comes_before_the_files(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 12}))
    assert load("m", tmp_path, "classify").tokenizer.max_length == 12
    assert load("m", tmp_path, "classify", max_length=14).tokenizer.max_length == 14


def test_a_graph_that_takes_only_shorter_texts_is_told_with_what_to_do(tmp_path: Path) -> None:
    write_classifier(tmp_path, positions=8)
    with pytest.raises(ModelError, match=r"model\.onnx: does not take 16 tokens, give a smaller --max-length: "):
        load("m", tmp_path, "classify")
    assert plain(load("m", tmp_path, "classify", max_length=8).compute([[GOOD] * 8])) == [[16, 0]]


def test_a_tokenizer_with_more_words_than_the_graph_is_told(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_graph(tmp_path, table(LOGITS, WORDS[:-1]), output="logits", pooled=True)
    with pytest.raises(ModelError, match=r"tokenizer\.json: its greatest token id 9 does not fit the graph: "):
        load("m", tmp_path, "classify")


def test_a_graph_that_takes_one_text_at_a_time_only_is_told(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    graph = onnx.load(tmp_path / "model.onnx")
    # As an export has it whose batch size was fixed while the axis has a name.
    graph.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "one text"))
    graph.graph.node[-1].output[0] = "sum"
    graph.graph.node.append(helper.make_node("Reshape", ["sum", "one text"], ["logits"]))
    onnx.save(graph, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"model\.onnx: does not take two texts as one batch: "):
        load("m", tmp_path, "classify")


def test_a_limit_beyond_all_memory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: does not take 1000000000000000000 tokens, give a smaller"):
        load("m", write_classifier(tmp_path), "classify", max_length=10**18)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_an_answer(tmp_path: Path, number: float) -> None:
    write_tokenizer(tmp_path)
    write_graph(tmp_path, table({"good": (1.0, 0.0), "cat": (number, 0.0)}), output="logits", pooled=True)
    model = load("m", tmp_path, "classify")
    assert plain(model.compute([[GOOD]])) == [[1, 0]]
    with pytest.raises(InferenceFailed, match="The graph gave infinities, or what is no number"):
        model.compute([[GOOD], [CAT]])


def test_a_graph_that_gives_no_numbers_for_ordinary_texts_is_told(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    word = WORDS[len(WORDS) // 2]
    write_graph(tmp_path, table({word: (np.nan, 0.0)}), output="logits", pooled=True)
    with pytest.raises(ModelError, match=r"model\.onnx: fails on ordinary texts: The graph gave infinities"):
        load("m", tmp_path, "classify")


def test_labels_that_do_not_fit_the_graph_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the graph has 2 classes, but 3 labels are given"):
        load("m", write_classifier(tmp_path), "classify", labels=("a", "b", "c"))


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write_classifier(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ModelError) as raised:
        load("m", tmp_path, "classify")
    assert raised.value.file == tmp_path / missing


def test_a_classifiers_graph_is_no_embedder(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_graph(tmp_path, table(VECTORS), output="logits", pooled=True)
    with pytest.raises(ModelError, match=r"model\.onnx: none of the outputs"):
        load("m", tmp_path, "embed")
