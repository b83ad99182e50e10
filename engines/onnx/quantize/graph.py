"""Rewrites of ONNX graphs that ONNX Runtime's own tools do not offer.

All of them concern products of activations with constant matrices (``MatMul`` with a weight), which are nearly all of
the work of a text encoder, and the table of word embeddings, which is half of its size. Attention, normalization and
the classification head stay in floating point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import NodeProto, TensorProto, helper, numpy_helper

Feed = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float32]

SMOOTHING = 0.7
"""How much of an outlier moves from the activations into the weights, from 0 to 1. Measured with both default models:
0.5 leaves twice the error of 0.7, and 0.3 ruins them."""

WEIGHT_REACH = 64
"""Weights of products are rounded to integers from -64 to 64, seven bits and not eight. Without VNNI or AMX, x86-64
adds two products of unsigned activations and signed weights in 16 bits and saturates (``VPMADDUBSW``): 2 * 255 * 64 =
32,640 fits, and 2 * 255 * 127 does not."""

_WORDS = 1000
"""Tables with fewer rows (positions, types of tokens) are small and every text reads them: they stay as they are."""

_CONTRIB = "com.microsoft"
_TINY = 1e-9


def smooth(model: onnx.ModelProto, feeds: Sequence[Feed]) -> None:
    """Make activations even, so that one scale fits all of their channels, and weights take up the difference.

    The channel ``j`` of an activation is divided, and the row ``j`` of each weight that it meets multiplied, by
    ``max|X_j|^a / max|W_j|^(1-a)``, as in SmoothQuant (Xiao et al., ICML 2023); the product stays the same. What the
    activations reach is seen by running ``feeds``.
    """
    weights = _weights(model)
    products = _products(model, weights)
    reach = _reach(model, sorted({node.input[0] for node in products}), feeds)
    factors: dict[str, Floats] = {}
    for name, most in reach.items():
        rows = [np.abs(weights[node.input[1]]).max(axis=1) for node in products if node.input[0] == name]
        factor = np.maximum(most, _TINY) ** SMOOTHING / np.maximum(np.max(rows, axis=0), _TINY) ** (1 - SMOOTHING)
        factors[name] = np.clip(factor / np.exp(np.log(factor).mean()), 1e-3, 1e3).astype(np.float32)
    rewrite = _Rewrite(model)
    for node in model.graph.node:
        if any(node is product for product in products):
            activation, weight = node.input[0], node.input[1]
            factor = factors[activation]
            even = rewrite.once("Mul", [activation, rewrite.constant(f"{activation}/smoothing", 1 / factor)], "/even")
            node.input[0] = even
            # Two products may share a weight and differ in what they multiply it with.
            node.input[1] = rewrite.constant(f"{weight}/even/{activation}", weights[weight] * factor[:, None])
        rewrite.keep(node)
    rewrite.finish()


def embed_in_int8(model: onnx.ModelProto) -> None:
    """Store tables of word embeddings as int8 with a scale for each row; only the rows of a text are scaled back."""
    tables = {name: table for name, table in _weights(model).items() if len(table) >= _WORDS}
    rewrite = _Rewrite(model)
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in tables and _attribute(node, "axis") in (None, 0):
            name, rows, words = node.input[0], tables[node.input[0]], node.input[1]
            scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True), _TINY) / 127
            whole = rewrite.constant(f"{name}/int8", np.round(rows / scales).astype(np.int8))
            numbers = rewrite.add("Gather", [whole, words], f"{node.output[0]}/int8")
            floats = rewrite.add("Cast", [numbers], f"{node.output[0]}/float", to=TensorProto.FLOAT)
            chosen = rewrite.constant(f"{name}/scales", scales.astype(np.float32))
            sizes = rewrite.add("Gather", [chosen, words], f"{node.output[0]}/scales")
            rewrite.add("Mul", [floats, sizes], node.output[0])
        else:
            rewrite.keep(node)
    rewrite.finish()


def multiply_per_token(model: onnx.ModelProto) -> None:
    """Multiply in int8, with a scale of its own for each token and each column of a weight.

    ONNX Runtime's dynamic quantization takes one scale for the whole batch, so that a text's answer depends on its
    neighbours; here a token's scale depends on that token alone (per-token quantization, as in ZeroQuant: Yao et al.,
    NeurIPS 2022).
    """
    weights = _weights(model)
    products = _products(model, weights)
    rewrite = _Rewrite(model)
    one = rewrite.constant("/int8/one", np.array(1, np.float32))
    most, inverse = (rewrite.constant(f"/int8/{n}", np.array(v, np.float32)) for n, v in (("127", 127), ("1", 1 / 127)))
    middle = rewrite.constant("/int8/middle", np.array(128, np.uint8))
    least = rewrite.constant("/int8/least", np.array(_TINY, np.float32))
    for node in model.graph.node:
        if not any(node is product for product in products):
            rewrite.keep(node)
            continue
        activation, weight = node.input[0], weights[node.input[1]]
        peak = rewrite.once("Max", [_row_maxima(rewrite, activation), least], f"{activation}/peak")
        stretch = rewrite.once("Div", [most, peak], f"{activation}/stretch")
        even = rewrite.once("Mul", [activation, stretch], f"{activation}/stretched")
        numbers = rewrite.once("QuantizeLinear", [even, one, middle], f"{activation}/uint8")
        scales = np.maximum(np.abs(weight).max(axis=0), _TINY) / WEIGHT_REACH
        columns = rewrite.constant(f"{node.input[1]}/int8", np.round(weight / scales).astype(np.int8))
        sizes = rewrite.constant(f"{node.input[1]}/scales", scales.astype(np.float32))
        inputs = [numbers, columns, inverse, sizes, middle]
        product = rewrite.add("MatMulIntegerToFloat", inputs, f"{node.output[0]}/scaled", domain=_CONTRIB)
        rewrite.add("Mul", [product, peak], node.output[0])
    rewrite.finish()


class _Rewrite:
    """Collects the new nodes and constants of a graph, and puts them in the place of the old ones."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._made: dict[str, str] = {}

    @property
    def opset(self) -> int:
        versions: list[int] = [each.version for each in self._model.opset_import if each.domain in ("", "ai.onnx")]
        return versions[0]

    def keep(self, node: NodeProto) -> None:
        self._nodes.append(node)

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def add(self, operation: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        node = helper.make_node(operation, inputs, [output], name=output, domain=domain, **attributes)
        self._nodes.append(node)
        return output

    def once(self, operation: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node unless an earlier product has needed the same."""
        if output.startswith("/"):
            output = inputs[0] + output
        if output not in self._made:
            self._made[output] = self.add(operation, inputs, output, **attributes)
        return output

    def finish(self) -> None:
        graph = self._model.graph
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in self._nodes]
        needed = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in needed]
        kept += [tensor for name, tensor in self._constants.items() if name in needed]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(kept)
        if not any(each.domain == _CONTRIB for each in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))


def _row_maxima(rewrite: _Rewrite, activation: str) -> str:
    sizes = rewrite.once("Abs", [activation], f"{activation}/sizes")
    if rewrite.opset >= 18:  # From here on the axes are an input.
        axes = rewrite.constant("/int8/last", np.array([-1], np.int64))
        return rewrite.once("ReduceMax", [sizes, axes], f"{activation}/most", keepdims=1)
    return rewrite.once("ReduceMax", [sizes], f"{activation}/most", keepdims=1, axes=[-1])


def _weights(model: onnx.ModelProto) -> dict[str, Floats]:
    """Give all constant matrices of floats by name."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
    }


def _products(model: onnx.ModelProto, weights: Mapping[str, Floats]) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def _reach(model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feed]) -> dict[str, Floats]:
    """Run texts and give the greatest size of each channel of these activations."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    most: dict[str, Floats] = {}
    for feed in feeds:
        for name, value in zip(names, session.run(names, feed), strict=True):
            found = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            most[name] = np.maximum(most.get(name, found), found)
    return most


def _attribute(node: NodeProto, name: str) -> int | None:
    return next((each.i for each in node.attribute if each.name == name), None)
