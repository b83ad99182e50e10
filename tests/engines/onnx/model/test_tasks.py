"""What numbers mean: classes with their probabilities, and vectors pooled, cut and scaled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.onnx.errors import BadRequest, ModelError
from engines.onnx.model.folder import ModelFolder
from engines.onnx.model.session import Session
from engines.onnx.model.tasks import Classify, ClassifyTokens, CrossEncode, Embed, Rows, cosines
from engines.onnx.model.tokens import EachTokenIds
from tests.engines.onnx.tiny import CAT, DOG, GOOD, VECTORS, table, write_graph


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def classify(folder: Path, *labels: str, width: int = 2, **config: Any) -> Classify:
    write(folder, "config.json", config)
    session = Session(write_graph(folder, np.zeros((10, width), np.float32), output="logits", pooled=True))
    task = Classify(ModelFolder(folder), session, labels)
    task.check_width(width)
    return task


def embed(folder: Path, *, output: str = "last_hidden_state", pooled: bool = False, **config: Any) -> Embed:
    write(folder, "config.json", config)
    session = Session(write_graph(folder, table(VECTORS), output=output, pooled=pooled))
    task = Embed(ModelFolder(folder), session, ())
    task.check_width(3)
    return task


def rows(*values: list[float]) -> Rows:
    return np.array(values, np.float32)


def classes(task: Classify, *values: list[float], activate: bool = True) -> list[list[float]]:
    found: list[list[float]] = task.pooled(list(rows(*values)), activate=activate).tolist()
    return found


def vectors(task: Embed, *values: list[float], **options: Any) -> list[list[float]]:
    found: list[list[float]] = task.pooled(list(rows(*values)), **{"activate": True} | options).tolist()
    return found


def test_a_text_has_a_probability_of_each_class(tmp_path: Path) -> None:
    task = classify(tmp_path, "benign", "injection")
    assert repr(task) == "<Classify benign, injection>"
    first, second = classes(task, [0.0, np.log(3)], [0.0, 0.0])
    assert first == pytest.approx([0.25, 0.75])
    assert second == [0.5, 0.5]


def test_logits_can_be_had_instead(tmp_path: Path) -> None:
    assert classes(classify(tmp_path), [-1.5, 2.5], activate=False) == [[-1.5, 2.5]]


def test_names_come_from_the_command_line_then_the_configuration_then_numbers(tmp_path: Path) -> None:
    names = {"1": "bad", "0": "good"}
    assert repr(classify(tmp_path, "a", "b", id2label=names)) == "<Classify a, b>"
    assert repr(classify(tmp_path, id2label=names)) == "<Classify good, bad>"
    assert repr(classify(tmp_path)) == "<Classify LABEL_0, LABEL_1>"


def test_as_many_names_as_classes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the graph has 3 classes, but 2 labels are given: a, b"):
        classify(tmp_path, "a", "b", width=3)


def test_the_only_output_of_two_axes_is_the_logits_whatever_its_name(tmp_path: Path) -> None:
    session = Session(write_graph(tmp_path, table(VECTORS), output="scores", pooled=True))
    assert Classify(ModelFolder(tmp_path), session, ()).output == "scores"


def test_a_graph_without_logits_is_no_classifier(tmp_path: Path) -> None:
    session = Session(write_graph(tmp_path, table(VECTORS), output="last_hidden_state", pooled=False))
    with pytest.raises(ModelError) as raised:
        Classify(ModelFolder(tmp_path), session, ())
    assert raised.value.reason == (
        "none of the outputs ['last_hidden_state'] is named logits, and 0 of them have 2 axes; "
        "say which one with `output`"
    )


def test_the_mean_of_a_texts_tokens_is_its_vector_and_padding_has_no_part(tmp_path: Path) -> None:
    output = np.array([[[1, 2, 3], [3, 4, 5]], [[1, 0, 0], [99, 99, 99]]], np.float32)
    mask = np.array([[1, 1], [1, 0]])
    assert embed(tmp_path).rows(output, mask).tolist() == [[2, 3, 4], [1, 0, 0]]


@pytest.mark.parametrize(("mode", "expected"), [("cls_token", [[1, 1], [3, 3]]), ("lasttoken", [[2, 2], [3, 3]])])
def test_a_model_may_take_its_first_or_last_token_instead(
    tmp_path: Path, mode: str, expected: list[list[float]]
) -> None:
    modes = {"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
    write(tmp_path, "1_Pooling/config.json", modes)
    output = np.array([[[1, 1], [2, 2]], [[3, 3], [9, 9]]], np.float32)
    assert embed(tmp_path).rows(output, np.array([[1, 1], [1, 0]])).tolist() == expected


@pytest.mark.parametrize(
    "modes",
    [
        {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": False},
    ],
)
def test_pooling_that_is_not_known_is_refused(tmp_path: Path, modes: dict[str, bool]) -> None:
    write(tmp_path, "1_Pooling/config.json", modes)
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json: pooling by .* is not one of"):
        embed(tmp_path)


def test_a_graph_that_pools_itself_is_left_to_it(tmp_path: Path) -> None:
    task = embed(tmp_path, output="sentence_embedding", pooled=True)
    assert task.output == "sentence_embedding"
    assert task.rows(rows([1, 2, 3]), np.array([[1]])).tolist() == [[1, 2, 3]]


def test_half_floats_become_whole_ones(tmp_path: Path) -> None:
    assert embed(tmp_path).rows(np.ones((1, 1, 3), np.float16), np.array([[1]])).dtype == np.float32


def test_a_graph_without_token_vectors_is_no_embedder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none of the outputs .'logits'. is named last_hidden_state or token_embed"):
        embed(tmp_path, output="logits", pooled=True)


def test_an_embedder_has_no_labels(tmp_path: Path) -> None:
    session = Session(write_graph(tmp_path, table(VECTORS), output="last_hidden_state", pooled=False))
    with pytest.raises(ModelError, match="an embedding model has no labels"):
        Embed(ModelFolder(tmp_path), session, ("a",))


def test_vectors_have_the_length_one(tmp_path: Path) -> None:
    task = embed(tmp_path)
    assert repr(task) == "<Embed 3 dimensions>"
    first, second = vectors(task, [0, 3, 4], [2, 0, 0])
    assert first == pytest.approx([0, 0.6, 0.8])
    assert second == [1, 0, 0]


def test_a_vector_of_zeros_stays_one(tmp_path: Path) -> None:
    assert vectors(embed(tmp_path), [0, 0, 0]) == [[0, 0, 0]]


def test_vectors_can_be_had_as_they_are(tmp_path: Path) -> None:
    assert vectors(embed(tmp_path), [0, 3, 4], activate=False) == [[0, 3, 4]]


def test_a_model_that_does_not_scale_its_vectors_is_obeyed(tmp_path: Path) -> None:
    write(tmp_path, "modules.json", [{"type": "sentence_transformers.models.Pooling"}])
    assert vectors(embed(tmp_path), [0, 3, 4]) == [[0, 3, 4]]


def test_matryoshka_vectors_are_cut_and_then_scaled(tmp_path: Path) -> None:
    task = embed(tmp_path, is_matryoshka=True)
    task.check_dimensions(2, "m")
    assert vectors(task, [3, 4, 12], dimensions=2) == [pytest.approx([0.6, 0.8])]


@pytest.mark.parametrize(
    ("config", "wanted", "message"),
    [
        ({}, 2, "Model 'm' does not support Matryoshka embeddings; dimensions must be unset (received dimensions=2)."),
        ({"is_matryoshka": True}, 0, "Model 'm' only supports dimensions in range [1, 3], got 0."),
        ({"is_matryoshka": True}, 4, "Model 'm' only supports dimensions in range [1, 3], got 4."),
        ({"matryoshka_dimensions": [1, 3]}, 2, "Model 'm' only supports Matryoshka dimensions [1, 3], got 2."),
    ],
)
def test_dimensions_that_a_model_does_not_have_are_refused_as_vllm_does(
    tmp_path: Path, config: dict[str, Any], wanted: int, message: str
) -> None:
    with pytest.raises(BadRequest) as raised:
        embed(tmp_path, **config).check_dimensions(wanted, "m")
    assert (raised.value.message, raised.value.param) == (message, "dimensions")


def test_the_dimensions_a_model_was_trained_for_are_allowed(tmp_path: Path) -> None:
    embed(tmp_path, matryoshka_dimensions=[1, 3]).check_dimensions(1, "m")


@pytest.mark.parametrize(
    ("config", "score"),
    [
        ({}, 0.75),
        ({"problem_type": "regression"}, np.log(3)),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, np.log(3)),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, 0.75),
    ],
)
def test_a_cross_encoders_number_becomes_its_score_as_its_configuration_says(
    tmp_path: Path, config: dict[str, Any], score: float
) -> None:
    task = cross_encode(tmp_path, **config)
    assert task.pooled(list(rows([np.log(3)])), activate=True).tolist() == [[pytest.approx(score)]]
    assert task.pooled(list(rows([5])), activate=False).tolist() == [[5]]


def test_a_cross_encoder_has_one_number(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a cross-encoder gives one number, this graph gives 2"):
        cross_encode(tmp_path).check_width(2)
    with pytest.raises(ModelError, match="a cross-encoder has no labels"):
        cross_encode(tmp_path, labels=("a",))


def test_a_cross_encoders_number_is_a_class_with_a_name(tmp_path: Path) -> None:
    assert cross_encode(tmp_path).labels == ["LABEL_0"]
    assert cross_encode(tmp_path, id2label={"0": "relevant"}).labels == ["relevant"]


def cross_encode(folder: Path, *, labels: tuple[str, ...] = (), **config: Any) -> CrossEncode:
    write(folder, "config.json", config)
    session = Session(write_graph(folder, np.zeros((10, 1), np.float32), output="logits", pooled=True))
    return CrossEncode(ModelFolder(folder), session, labels)


def test_each_token_has_a_probability_of_each_class_and_padding_has_none(tmp_path: Path) -> None:
    session = Session(write_graph(tmp_path, np.zeros((10, 2), np.float32), output="logits", pooled=False))
    task = ClassifyTokens(ModelFolder(tmp_path), session, ("a", "b"))
    task.check_width(2)
    assert repr(task) == "<ClassifyTokens a, b>"
    output = np.array([[[0, 0], [0, np.log(3)]], [[0, 0], [9, 9]]], np.float32)
    first, second = task.pooled(task.rows(output, np.array([[1, 1], [1, 0]])), activate=True)
    assert first == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]))
    assert second.tolist() == [[0.5, 0.5]]


def test_one_of_several_outputs_is_chosen_by_its_name(tmp_path: Path) -> None:
    file = write_graph(tmp_path, np.zeros((10, 2), np.float32), output="topics", pooled=True, beside="each")
    session, folder = Session(file), ModelFolder(tmp_path)
    assert session.outputs == {"topics": 2, "each": 3}
    assert Classify(folder, session, (), "topics").output == "topics"
    assert Embed(folder, session, (), "topics").output == "topics"
    assert Embed(folder, session, (), "each").output == "each"
    with pytest.raises(ModelError, match=r"model\.onnx: there is no output 'none'; there are \['topics', 'each'\]"):
        Classify(folder, session, (), "none")
    with pytest.raises(ModelError, match="output 'each' has 3 axes, not 2"):
        Classify(folder, session, (), "each")


def test_cosines_are_of_each_left_vector_or_the_only_one_with_the_right_one() -> None:
    left, right = rows([3, 4], [0, 2]), rows([4, 3], [1, 0])
    assert cosines(left, right).tolist() == pytest.approx([0.96, 0])
    assert cosines(left[:1], right).tolist() == pytest.approx([0.96, 0.6])
    assert cosines(left[:1], rows([0, 0])).tolist() == [0]


@pytest.mark.parametrize("kind", ["last_hidden_state", "sentence_embedding and token_embeddings"])
def test_texts_and_those_whose_tokens_are_wanted_run_side_by_side(tmp_path: Path, kind: str) -> None:
    beside = "token_embeddings" if "and" in kind else None
    file = write_graph(tmp_path, table(VECTORS), output=kind.split()[0], pooled=beside is not None, beside=beside)
    session = Session(file)
    task = Embed(ModelFolder(tmp_path), session, ())
    assert repr(task.each_token) == f"<EmbedTokens {beside or kind}>"
    texts = [EachTokenIds([CAT]), [DOG], EachTokenIds([GOOD, DOG, CAT]), [GOOD]]
    cat, good, dog = [0, 3, 4], [1, 0, 0], [0, 4, 3]
    assert [row.tolist() for row in task.compute(session, texts)] == [[cat], dog, [good, dog, cat], good]
    assert [row.tolist() for row in task.compute(session, texts[::2])] == [[cat], [good, dog, cat]]


def test_rows_of_tokens_do_not_hold_the_batch(tmp_path: Path) -> None:
    each_token = embed(tmp_path).each_token
    assert each_token is not None
    output = np.ones((2, 5, 3), np.float16)
    found = each_token.rows(output, np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]))
    assert [row.shape for row in found] == [(2, 3), (5, 3)]
    assert all(row.dtype == np.float32 and row.base is None for row in found)


def test_vectors_of_tokens_have_the_length_one_whatever_those_of_texts_have(tmp_path: Path) -> None:
    write(tmp_path, "modules.json", [{"type": "sentence_transformers.models.Transformer"}])
    task = embed(tmp_path)
    assert vectors(task, [0, 3, 4]) == [[0, 3, 4]]
    each_token = task.each_token
    assert each_token is not None
    row = rows([0, 3, 4], [2, 0, 0], [0, 0, 0])
    (scaled,) = each_token.pooled([row], activate=True)
    assert scaled == pytest.approx(np.array([[0, 0.6, 0.8], [1, 0, 0], [0, 0, 0]]))
    (raw,) = each_token.pooled([row], activate=False)
    assert raw.tolist() == row.tolist()


def test_a_graph_that_gives_whole_texts_alone_has_no_vectors_of_tokens(tmp_path: Path) -> None:
    assert embed(tmp_path, output="sentence_embedding", pooled=True).each_token is None
