"""Tokens' classes become spans of text, joined as transformers joins them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.onnx.model.spans import spans
from engines.onnx.model.tokens import PromptTokenizer
from engines.onnx.protocol.requests import PoolingRequest
from engines.onnx.protocol.responses import Span
from tests.engines.onnx.tiny import write_tokenizer

LABELS = ["O", "B-PER", "I-PER", "I-LOC", "MISC"]


def found(folder: Path, text: str, *classes: int) -> list[Span]:
    """Give the spans of a text whose tokens, the special ones included, are of these classes."""
    tokenizer = PromptTokenizer(write_tokenizer(folder))
    (ids,) = tokenizer.encode_places(PoolingRequest(input=text), "return_spans")
    probabilities = np.full((len(ids), len(LABELS)), 0.1, np.float32)
    probabilities[np.arange(len(ids)), list(classes)] = 0.6
    return spans(text, ids, probabilities, LABELS)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ((0, 0, 0, 0, 0), []),
        ((0, 1, 2, 0, 0), [("PER", "good  bad")]),
        ((0, 1, 1, 0, 0), [("PER", "good"), ("PER", "bad")]),
        ((0, 2, 3, 3, 0), [("PER", "good"), ("LOC", "bad cat")]),
        ((0, 4, 0, 4, 0), [("MISC", "good"), ("MISC", "cat")]),
        ((0, 4, 4, 4, 0), [("MISC", "good  bad cat")]),
        # Special tokens are of no text, whatever their class.
        ((1, 0, 0, 1, 2), [("PER", "cat")]),
    ],
)
def test_neighbours_of_one_label_are_one_span(
    tmp_path: Path, classes: tuple[int, ...], expected: list[tuple[str, str]]
) -> None:
    assert [(span.label, span.text) for span in found(tmp_path, "good  bad cat", *classes)] == expected


def test_a_span_has_its_place_and_the_mean_of_its_probabilities(tmp_path: Path) -> None:
    (span,) = found(tmp_path, "good  bad cat", 0, 0, 1, 2, 0)
    assert (span.start, span.end, span.text) == (6, 13, "bad cat")
    assert span.score == pytest.approx(0.6)
