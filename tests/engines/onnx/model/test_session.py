"""Real graphs run in ONNX Runtime as batches, and those that cannot serve texts are refused when they are loaded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.onnx.errors import InferenceFailed, ModelError
from engines.onnx.model.session import BoundRun, Session
from engines.onnx.model.tokens import PromptTokenizer
from engines.onnx.protocol.inputs import Side
from engines.onnx.protocol.requests import PairRequest
from tests.engines.onnx.tiny import (
    BAD,
    CAT,
    FLOAT,
    GOOD,
    INT32,
    LOGITS,
    POISON,
    VECTORS,
    table,
    write_graph,
    write_tokenizer,
)


def pooled(folder: Path, *, inputs: tuple[str, ...] = ("input_ids", "attention_mask"), kind: int = 7) -> Session:
    return Session(write_graph(folder, table(LOGITS), output="logits", pooled=True, inputs=inputs, kind=kind))


def test_a_session_shows_what_goes_in_and_what_comes_out(tmp_path: Path) -> None:
    session = pooled(tmp_path)
    assert repr(session) == "<Session model.onnx `attention_mask`, `input_ids` -> `logits`>"
    assert session.outputs == {"logits": 2}


def test_a_batch_gives_a_row_for_each_text_and_padding_counts_for_nothing(tmp_path: Path) -> None:
    output, mask = pooled(tmp_path).run("logits", [[GOOD], [BAD, BAD, GOOD], [BAD, CAT]])
    assert output.tolist() == [[2, 0], [2, 4], [0, 2]]
    assert mask.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]


def test_an_output_may_have_a_row_for_each_token(tmp_path: Path) -> None:
    session = Session(write_graph(tmp_path, table(VECTORS), output="hidden", pooled=False))
    output, _ = session.run("hidden", [[CAT, GOOD]])
    assert output.tolist() == [[[0, 3, 4], [1, 0, 0]]]


@pytest.mark.parametrize("inputs", [("input_ids",), ("input_ids", "attention_mask", "token_type_ids")])
def test_a_graph_gets_the_inputs_that_it_names(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    session = Session(write_graph(tmp_path, table(VECTORS), output="hidden", pooled=False, inputs=inputs))
    output, _ = session.run("hidden", [[CAT]])
    assert output.tolist() == [[[0, 3, 4]]]


def test_a_graph_gets_the_kind_of_integer_that_it_wants(tmp_path: Path) -> None:
    output, _ = pooled(tmp_path, kind=INT32).run("logits", [[GOOD, GOOD]])
    assert output.tolist() == [[4, 0]]


def test_a_pair_of_texts_has_two_kinds_of_tokens(tmp_path: Path) -> None:
    # The graph looks up the kind of each token: it gives 1 for the second kind, which is the number of this word.
    rows = table({"[UNK]": (1.0,)})
    names = ("token_type_ids", "input_ids", "attention_mask")
    session = Session(write_graph(tmp_path, rows, output="hidden", pooled=False, inputs=names))
    tokenizer = PromptTokenizer(write_tokenizer(tmp_path))
    pairs = tokenizer.encode_pairs(Side("a", ["cat"]), Side("b", ["dog", "dog dog"]), PairRequest())
    output, _ = session.run("hidden", pairs)
    assert output[:, :, 0].tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1]]


def test_runs_side_by_side_do_not_disturb_each_other(tmp_path: Path) -> None:
    session = pooled(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(lambda count: session.run("logits", [[GOOD] * count])[0], range(1, 65)))
    assert np.concatenate(outputs).tolist() == [[2 * count, 0] for count in range(1, 65)]


def test_a_batch_that_the_graph_refuses_is_told_with_its_size_and_reason(tmp_path: Path) -> None:
    with pytest.raises(InferenceFailed, match=r"^ONNX Runtime failed on a batch of 2 x 3: .*indices element out of"):
        pooled(tmp_path).run("logits", [[GOOD], [GOOD, POISON, BAD]])


def test_a_session_works_on_after_a_batch_that_failed(tmp_path: Path) -> None:
    session = pooled(tmp_path)
    with pytest.raises(InferenceFailed):
        session.run("logits", [[POISON]])
    assert session.run("logits", [[GOOD]])[0].tolist() == [[2, 0]]


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime can use a GPU"
)
def test_a_gpu_that_cannot_be_used_is_an_error_and_not_a_slow_answer(tmp_path: Path) -> None:
    file = write_graph(tmp_path, table(LOGITS), output="logits", pooled=True)
    with pytest.raises(ModelError, match=r"a GPU is wanted, but this ONNX Runtime has only .*use onnxruntime-gpu"):
        Session(file, gpu=True)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime can use a GPU"
)
def test_a_gpu_whose_libraries_are_missing_is_an_error_although_onnx_runtime_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_graph(tmp_path, table(LOGITS), output="logits", pooled=True)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ModelError, match="could not start CUDA"),
    ):
        Session(file, gpu=True)


def bound(file: Path) -> BoundRun:
    """Bind to the CPU what is bound to a GPU where there is one."""
    return BoundRun(onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]), "cpu")


@pytest.mark.parametrize("texts", [[[GOOD]], [[GOOD], [BAD, BAD, GOOD], [BAD, CAT]]])
def test_a_run_with_io_binding_gives_the_same(tmp_path: Path, texts: list[list[int]]) -> None:
    session = pooled(tmp_path)
    feed, _ = session.feed(texts)
    assert bound(tmp_path / "model.onnx")("logits", feed).tolist() == session.run("logits", texts)[0].tolist()


def test_runs_with_io_binding_side_by_side_do_not_disturb_each_other(tmp_path: Path) -> None:
    session = pooled(tmp_path)
    run = bound(tmp_path / "model.onnx")
    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(lambda n: run("logits", session.feed([[GOOD] * n])[0]), range(1, 65)))
    assert np.concatenate(outputs).tolist() == [[2 * count, 0] for count in range(1, 65)]


def test_a_missing_graph_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: no such file"):
        Session(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"<html>no model here</html>"])
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime cannot load it: ") as raised:
        Session(file)
    assert "\n" not in str(raised.value)


def test_half_a_graph_is_refused(tmp_path: Path) -> None:
    file = write_graph(tmp_path, table(LOGITS), output="logits", pooled=True)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(ModelError, match="ONNX Runtime cannot load it"):
        Session(file)


def test_weights_may_lie_in_a_file_beside_the_graph(tmp_path: Path) -> None:
    table(VECTORS).tofile(tmp_path / "weights")
    session = Session(write_graph(tmp_path, table(VECTORS), output="hidden", pooled=False, table_at="weights"))
    assert session.run("hidden", [[CAT]])[0].tolist() == [[[0, 3, 4]]]


def test_weights_that_are_missing_are_told(tmp_path: Path) -> None:
    file = write_graph(tmp_path, table(VECTORS), output="hidden", pooled=False, table_at="weights")
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime cannot load it: .*weights"):
        Session(file)


def test_weights_that_end_too_early_are_told(tmp_path: Path) -> None:
    table(VECTORS)[:-1].tofile(tmp_path / "weights")
    file = write_graph(tmp_path, table(VECTORS), output="hidden", pooled=False, table_at="weights")
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime cannot load it: "):
        Session(file)


@pytest.mark.parametrize("location", ["../weights", "{outside}/weights", "deeper/../../weights", "link"])
def test_weights_outside_of_the_models_folder_are_never_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    (folder / "deeper").mkdir(parents=True)
    table(VECTORS).tofile(tmp_path / "weights")
    (folder / "link").symlink_to("../weights")
    location = location.format(outside=tmp_path)
    file = write_graph(folder, table(VECTORS), output="hidden", pooled=False, table_at=location)
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime cannot load it: .*External data path"):
        Session(file)


@pytest.mark.parametrize(
    ("inputs", "kind", "axes", "reason"),
    [
        (("attention_mask",), 7, ("b", "t"), "the graph has no input `input_ids`, only `attention_mask`"),
        (
            ("input_ids", "pixel_values"),
            7,
            ("b", "t"),
            "unknown input `pixel_values`; known are `attention_mask`, `input_ids`, `token_type_ids`",
        ),
        (
            ("input_ids",),
            7,
            ("b", 384),
            "input `input_ids` has the shape ['b', 384]; batch size and length must be dynamic axes",
        ),
        (
            ("input_ids",),
            7,
            ("b",),
            "input `input_ids` has the shape ['b']; batch size and length must be dynamic axes",
        ),
    ],
)
def test_a_graph_that_is_no_encoder_of_texts_is_refused(
    tmp_path: Path, inputs: tuple[str, ...], kind: int, axes: tuple[str | int, ...], reason: str
) -> None:
    file = write_graph(tmp_path, table(VECTORS), output="hidden", pooled=False, inputs=inputs, kind=kind, axes=axes)
    with pytest.raises(ModelError) as raised:
        Session(file)
    assert raised.value.reason == reason


def test_an_input_of_fractions_is_refused(tmp_path: Path) -> None:
    names, kinds = ("input_ids", "attention_mask"), {"attention_mask": FLOAT}
    file = write_graph(tmp_path, table(VECTORS), output="hidden", pooled=False, inputs=names, kinds=kinds)
    with pytest.raises(ModelError) as raised:
        Session(file)
    assert raised.value.reason == (
        "input `attention_mask` is a tensor(float), not one of `tensor(int32)`, `tensor(int64)`"
    )


def write_nodes(folder: Path, *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> Path:
    """Write a graph of these nodes, from ``input_ids`` to ``logits`` of this kind, which may use ``rows`` of words."""
    graph = helper.make_graph(
        nodes,
        "nodes",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 2])],
        [numpy_helper.from_array(table(LOGITS), "rows")],
    )
    file = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return file


LOOK_UP = helper.make_node("Gather", ["rows", "input_ids"], ["words"])


def test_a_graph_that_makes_one_row_of_a_whole_batch_fails_instead_of_leaving_texts_without_an_answer(
    tmp_path: Path,
) -> None:
    one_row = helper.make_node("ReduceMean", ["words"], ["mean"], axes=[0], keepdims=1)
    of_all = helper.make_node("ReduceMean", ["mean"], ["logits"], axes=[1], keepdims=0)
    session = Session(write_nodes(tmp_path, LOOK_UP, one_row, of_all))
    with pytest.raises(InferenceFailed, match=r"The graph gave the shape \(1, 2\) for a batch of 3 x 1"):
        session.run("logits", [[GOOD], [BAD], [CAT]])


def test_a_graph_that_loses_tokens_fails(tmp_path: Path) -> None:
    one = helper.make_node("ReduceMean", ["words"], ["logits"], axes=[1], keepdims=1)
    session = Session(write_nodes(tmp_path, LOOK_UP, one))
    with pytest.raises(InferenceFailed, match=r"The graph gave the shape \(1, 1, 2\) for a batch of 1 x 2"):
        session.run("logits", [[GOOD, BAD]])


def test_outputs_that_are_no_floating_point_numbers_are_refused(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["words"], ["mean"], axes=[1], keepdims=0)
    cast = helper.make_node("Cast", ["mean"], ["logits"], to=TensorProto.BFLOAT16)
    file = write_nodes(tmp_path, LOOK_UP, mean, cast, kind=TensorProto.BFLOAT16)
    with pytest.raises(ModelError) as raised:
        Session(file)
    assert raised.value.reason == (
        "no output is a tensor(double) or tensor(float) or tensor(float16), there is only `logits` of tensor(bfloat16)"
    )


def write_int8_graph(folder: Path) -> Path:
    """Write a graph that multiplies a text of two tokens, 255 times its ids, with eight-bit weights as ONNX Runtime's
    tools leave them: unsigned activations, signed weights."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("DynamicQuantizeLinear", ["scaled"], ["numbers", "size", "zero"]),
        helper.make_node("MatMulInteger", ["numbers", "weights", "zero", "weights' zero"], ["product"]),
        helper.make_node("Cast", ["product"], ["logits"], to=TensorProto.FLOAT),
    ]
    tensors: dict[str, npt.NDArray[Any]] = {
        "scale": np.array(255, np.float32),
        "weights": np.full((2, 16), 127, np.int8),
        "weights' zero": np.array(0, np.int8),
    }
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    file = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


def test_products_in_int8_are_exact_on_every_processor(tmp_path: Path) -> None:
    output, _ = Session(write_int8_graph(tmp_path)).run("logits", [[1, 1]])
    assert output.tolist() == [[2 * 255 * 127.0] * 16]
