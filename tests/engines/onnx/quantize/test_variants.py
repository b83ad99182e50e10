"""Each variant is a graph that runs, is smaller, and says nearly the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest

from engines.onnx.model.session import Session
from engines.onnx.quantize.variants import VARIANTS
from tests.engines.onnx.quantize.encoder import WORDS, write_encoder

TEXTS = [np.random.default_rng(n).integers(0, WORDS, 4 + n % 9).tolist() for n in range(24)]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_runs_is_smaller_and_says_nearly_the_same(name: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path) / "model.onnx"
    model = Session(source)
    target = tmp_path / "made" / "model.onnx"
    target.parent.mkdir()
    VARIANTS[name](source, target, [model.feed([text])[0] for text in TEXTS])
    logits = model.run("logits", TEXTS)[0]
    np.testing.assert_allclose(Session(target).run("logits", TEXTS)[0], logits, atol=0.15 * np.abs(logits).max())
    assert target.stat().st_size < 0.4 * source.stat().st_size
    assert [file.name for file in target.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(("name", "depends"), [("dynamic", True), ("static", False), ("per-token", False)])
def test_only_the_scale_of_a_whole_batch_makes_answers_depend_on_neighbours(
    name: str, depends: bool, tmp_path: Path
) -> None:
    source, target = write_encoder(tmp_path) / "model.onnx", tmp_path / "variant.onnx"
    VARIANTS[name](source, target, [Session(source).feed([text])[0] for text in TEXTS])
    made = Session(target)
    alone = np.concatenate([made.run("logits", [text])[0] for text in TEXTS])
    shift = np.abs(made.run("logits", TEXTS)[0] - alone).max()
    assert (shift > 1e-4) == depends


@pytest.mark.parametrize("name", VARIANTS)
def test_no_product_of_a_variant_can_saturate(name: str, tmp_path: Path) -> None:
    """Two products of unsigned and signed bytes are added in 16 bits where a processor has no VNNI."""
    source, target = write_encoder(tmp_path) / "model.onnx", tmp_path / "variant.onnx"
    VARIANTS[name](source, target, [Session(source).feed([text])[0] for text in TEXTS])
    weights = product_weights(onnx.load(target))
    assert len(weights) == 2
    for weight in weights:
        assert 2 * 255 * np.abs(weight.astype(int)).max() < 2**15


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_says_the_same_without_the_sessions_precision_mode(name: str, tmp_path: Path) -> None:
    source, target = write_encoder(tmp_path) / "model.onnx", tmp_path / "variant.onnx"
    feeds = [Session(source).feed([text])[0] for text in TEXTS]
    VARIANTS[name](source, target, feeds)
    plain = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    for text, feed in zip(TEXTS, feeds, strict=True):
        ours = Session(target).run("logits", [text])[0]
        np.testing.assert_allclose(plain.run(["logits"], feed)[0], ours, rtol=1e-5, atol=1e-5)


def product_weights(model: onnx.ModelProto) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
    """Return the constant int8 matrices that are factors of products, dequantized within the graph or not."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    factors = [sources.get(node.input[1], node.input[1]) for node in model.graph.node if "MatMul" in node.op_type]
    return [constants[name] for name in factors if name in constants and constants[name].dtype == np.int8]
