"""Rewritten graphs compute nearly what the graph did, in int8, and a text's answer is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest

from engines.onnx.quantize.graph import WEIGHT_REACH, Feed, embed_in_int8, multiply_per_token, smooth
from tests.engines.onnx.quantize.encoder import OUTLIER, WORDS, write_encoder


def feed(*texts: list[int]) -> Feed:
    longest = max(map(len, texts))
    ids = np.array([text + [0] * (longest - len(text)) for text in texts], np.int64)
    mask = np.array([[1] * len(text) + [0] * (longest - len(text)) for text in texts], np.int64)
    return {"input_ids": ids, "attention_mask": mask}


TEXTS = [np.random.default_rng(n).integers(0, WORDS, 4 + n).tolist() for n in range(12)]
FEEDS = [feed(text) for text in TEXTS]


def run(model: onnx.ModelProto, given: Feed) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits: npt.NDArray[np.float32] = session.run(["logits"], given)[0]
    return logits


def operations(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def initializers(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.fixture(params=[17, 18], ids="opset {}".format)
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> onnx.ModelProto:
    """Give the graph in both forms of ReduceMax: axes as an attribute, and as an input."""
    return onnx.load(write_encoder(tmp_path, opset=request.param) / "model.onnx")


def test_smoothing_changes_no_answer_and_takes_the_outlier_away(encoder: onnx.ModelProto) -> None:
    before = [run(encoder, each) for each in FEEDS]
    smooth(encoder, FEEDS)
    after = [run(encoder, each) for each in FEEDS]
    np.testing.assert_allclose(np.concatenate(after), np.concatenate(before), rtol=1e-3, atol=1e-4)
    factors = next(value for name, value in initializers(encoder).items() if name == "embedded/smoothing")
    assert factors.argmin() == OUTLIER


def test_embeddings_in_int8_are_a_quarter_of_the_size_and_nearly_the_same(encoder: onnx.ModelProto) -> None:
    before = run(encoder, FEEDS[3])
    embed_in_int8(encoder)
    np.testing.assert_allclose(run(encoder, FEEDS[3]), before, rtol=0.03, atol=0.05)
    tables = {name: value.dtype for name, value in initializers(encoder).items() if len(value) == WORDS}
    assert tables == {"words/int8": np.dtype(np.int8), "words/scales": np.dtype(np.float32)}


def test_products_per_token_are_in_int8_and_nearly_the_same(encoder: onnx.ModelProto) -> None:
    before = run(encoder, FEEDS[3])
    multiply_per_token(encoder)
    assert "MatMul" not in operations(encoder)
    assert operations(encoder).count("MatMulIntegerToFloat") == 2
    np.testing.assert_allclose(run(encoder, FEEDS[3]), before, rtol=0.05, atol=0.1)


def test_weights_per_token_have_seven_bits(encoder: onnx.ModelProto) -> None:
    multiply_per_token(encoder)
    weights = [value for name, value in initializers(encoder).items() if value.dtype == np.int8]
    assert [np.abs(value.astype(int)).max() for value in weights] == [WEIGHT_REACH] * 2


def test_an_answer_per_token_does_not_depend_on_the_neighbours(encoder: onnx.ModelProto) -> None:
    multiply_per_token(encoder)
    alone = np.concatenate([run(encoder, each) for each in FEEDS])
    np.testing.assert_allclose(run(encoder, feed(*TEXTS)), alone, rtol=1e-5, atol=1e-5)


def test_two_products_of_one_activation_share_its_int8_numbers(encoder: onnx.ModelProto) -> None:
    twice = onnx.helper.make_node("MatMul", ["embedded", "up"], ["wide again"], name="again")
    encoder.graph.node.insert(1, twice)
    multiply_per_token(encoder)
    assert operations(encoder).count("MatMulIntegerToFloat") == 3
    assert operations(encoder).count("QuantizeLinear") == 2


def test_a_graph_without_products_of_constants_stays_as_it_is() -> None:
    value = onnx.helper.make_tensor_value_info
    inputs = [value(name, onnx.TensorProto.FLOAT, [2, 2]) for name in "ab"]
    product = onnx.helper.make_node("MatMul", ["a", "b"], ["logits"])
    graph = onnx.helper.make_graph([product], "g", inputs, [value("logits", onnx.TensorProto.FLOAT, [2, 2])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    multiply_per_token(model)
    assert operations(model) == ["MatMul"]
