"""From classes of tokens to spans of text, the way of transformers' ``aggregation_strategy="simple"``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engines.onnx.model.tasks import Row
from engines.onnx.model.tokens import PlacedIds
from engines.onnx.protocol.responses import Span

OUTSIDE = "O"
"""The label of what belongs to no span."""


def spans(text: str, ids: PlacedIds, probabilities: Row, labels: Sequence[str]) -> list[Span]:
    """Join neighbouring tokens of one label, probabilities of shape (tokens, classes), into spans of ``text``.

    A label may say with ``B-`` that its token begins a span, and with ``I-`` that it goes on with one; without either
    it goes on. Special tokens are left out, and so are spans outside of everything (``O``).
    """
    found = []
    for label, tokens in _runs(ids, probabilities, labels):
        if label != OUTSIDE:
            start, end = ids.places[tokens[0]] or (0, 0), ids.places[tokens[-1]] or (0, 0)
            score = float(probabilities[tokens].max(axis=1).mean())
            found.append(Span(label, score, start[0], end[1], text[start[0] : end[1]]))
    return found


def _runs(ids: PlacedIds, probabilities: Row, labels: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Give each run of tokens that belong together, by their numbers, with its label."""
    run: list[int] = []
    current = ""
    for token, best in enumerate(probabilities.argmax(axis=1)):
        if ids.places[token] is None:
            continue
        begins, label = _split(labels[best])
        if run and (begins or label != current):
            yield current, run
            run = []
        current = label
        run.append(token)
    if run:
        yield current, run


def _split(label: str) -> tuple[bool, str]:
    """Say whether a label begins a span, and what it is without its mark."""
    marked = label[:2] in ("B-", "I-")
    return label.startswith("B-"), label[2:] if marked else label
