"""The candidates: each a way to make an int8 graph out of a model's own.

All of them keep the weights of products within seven bits, which ONNX Runtime's tools call ``reduce_range``, so that
products are exact on every x86-64; ``graph.WEIGHT_REACH`` says why. To add one, write its function and name it in
``VARIANTS``; it is measured like the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from engines.onnx.quantize.graph import Feed, embed_in_int8, multiply_per_token, smooth

Make = Callable[[Path, Path, Sequence[Feed]], None]


def dynamic(source: Path, target: Path, _feeds: Sequence[Feed]) -> None:
    """Make ONNX Runtime's dynamic quantization: a scale for each batch, taken while it runs."""
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul", "Gather"], per_channel=True, reduce_range=True)


def static(source: Path, target: Path, feeds: Sequence[Feed]) -> None:
    """Make ONNX Runtime's static quantization (QDQ) with the extremes of real texts; results stay floats."""
    _quantize_static(source, target, feeds, ["MatMul", "Gather"])


def static_smoothed(source: Path, target: Path, feeds: Sequence[Feed]) -> None:
    """Make the same of a graph whose activations were made even before, with a scale for each word's embedding."""
    model = onnx.load(source)
    smooth(model, feeds)
    embed_in_int8(model)
    with tempfile.TemporaryDirectory(prefix=".smoothed-", dir=target.parent) as folder:
        even = Path(folder) / "model.onnx"
        onnx.save(model, even)
        _quantize_static(even, target, feeds, ["MatMul"])


def per_token(source: Path, target: Path, _feeds: Sequence[Feed]) -> None:
    """Make our own dynamic quantization: a scale for each token, so that neighbours have no influence."""
    model = onnx.load(source)
    embed_in_int8(model)
    multiply_per_token(model)
    onnx.save(model, target)


VARIANTS: Mapping[str, Make] = {
    "dynamic": dynamic,
    "static": static,
    "static-smoothed": static_smoothed,
    "per-token": per_token,
}


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _quantize_static(source: Path, target: Path, feeds: Sequence[Feed], operations: list[str]) -> None:
    quantize_static(
        source,
        target,
        _Feeds(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=operations,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            # Products of two activations are few and sensitive, and a product's result is needed as floats anyway.
            "MatMulConstBOnly": True,
            "OpTypesToExcludeOutputQuantization": operations,
        },
    )
