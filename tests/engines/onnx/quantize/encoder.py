"""A text encoder small enough for a test: a table of words and two products, made with numbers that have outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.engines.onnx.tiny import write_tokenizer

WORDS, WIDTH, HIDDEN = 1200, 16, 64
OUTLIER = 3
"""The channel of the embeddings that is far greater than the others, as one or two are in real encoders."""


def write_encoder(folder: Path, *, opset: int = 18) -> Path:
    """Write a whole folder: mean of ``relu(embedding @ up) @ down`` over the tokens, as two logits."""
    random = np.random.default_rng(7)
    words = random.normal(size=(WORDS, WIDTH)).astype(np.float32)
    words[:, OUTLIER] *= 20
    up = random.normal(size=(WIDTH, HIDDEN)).astype(np.float32)
    down = random.normal(size=(HIDDEN, 2)).astype(np.float32) / HIDDEN
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"], name="embed"),
        helper.make_node("MatMul", ["embedded", "up"], ["wide"], name="up"),
        helper.make_node("Relu", ["wide"], ["active"], name="relu"),
        helper.make_node("MatMul", ["active", "down"], ["scores"], name="down"),
        helper.make_node("Cast", ["attention_mask"], ["weights"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"], name="unsqueeze"),
        helper.make_node("Mul", ["scores", "column"], ["masked"], name="mask"),
        helper.make_node("ReduceSum", ["masked", "middle"], ["logits"], name="sum", keepdims=0),
    ]
    tensors: dict[str, npt.NDArray[Any]] = {
        "words": words,
        "up": up,
        "down": down,
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    write_tokenizer(folder)
    return folder
