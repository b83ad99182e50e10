"""A text and what the model answered once: a replica that answers something else does not become ready.

A file that was exchanged, a library that computes differently, a processor that does: all would be noticed by clients
first.
"""

from __future__ import annotations

import json

import numpy as np

from engines.onnx.errors import ModelError, RequestError
from engines.onnx.model.model import Model
from engines.onnx.model.tasks import CrossEncode, Row
from engines.onnx.options import Golden
from engines.onnx.protocol.inputs import Side
from engines.onnx.protocol.requests import InputRequest, PairRequest

_NUMBERS = 8
"""How many numbers are recorded at most, from the beginning: of a vector they tell as much as all."""


def record(model: Model, text: str, pair: str | None = None) -> Golden:
    """Ask the model now. Raises ``ValueError`` if the text does not suit it."""
    return Golden(text, [float(f"{number:.6g}") for number in _ask(model, text, pair)], pair)


def as_toml(golden: Golden) -> str:
    """Write a golden input as the ``golden`` of a model in ``models.toml``."""
    pair = "" if golden.pair is None else f", pair = {json.dumps(golden.pair, ensure_ascii=False)}"
    return f"golden = {{ text = {json.dumps(golden.text, ensure_ascii=False)}{pair}, answer = {golden.answer} }}"


def check(model: Model, golden: Golden) -> None:
    """Raise ``ModelError`` if the model does not answer what was recorded."""
    try:
        found = _ask(model, golden.text, golden.pair)
    except (ValueError, RequestError) as error:
        raise ModelError(model.file, f"the golden input cannot be asked: {error}") from error
    found = found[: len(golden.answer)]
    differs = len(found) < len(golden.answer) or not np.allclose(found, golden.answer, rtol=0, atol=golden.tolerance)
    if differs:
        raise ModelError(
            model.file,
            f"the golden input {golden.text!r} is answered {[round(float(number), 6) for number in found]}, "
            f"not {golden.answer} as recorded (within {golden.tolerance})",
        )


def _ask(model: Model, text: str, pair: str | None) -> Row:
    """Give the first numbers of an answer, as ``/pooling`` or ``/score`` would have them."""
    if isinstance(model.task, CrossEncode) != (pair is not None):
        raise ValueError("a cross-encoder needs a pair of texts, and no other model does")
    if pair is not None:
        left, right = Side.of("text", text), Side.of("pair", pair)
        rows = model.compute(model.tokenizer.encode_pairs(left, right, PairRequest()))
    else:
        rows = model.compute(model.tokenizer.encode(InputRequest(input=text)))
    numbers: Row = np.ravel(model.task.pooled(list(rows), activate=True)[0])[:_NUMBERS]
    return numbers
