"""How many cases each property gets, and how bytes are chosen, changed and cut for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("HEADGATE_FUZZ_CASES", "12000"))
"""Cases over all properties together."""

_T = TypeVar("_T")


def cases(share: float) -> Callable[[Callable[..., Any]], Any]:
    """Give a property its share of the cases, as much time as they take, and a blob that repeats a failure."""
    run = settings(
        max_examples=max(1, round(CASES * share)),
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: pytest.mark.slow(pytest.mark.timeout(0)(run(test)))


class Choices:
    """Decisions read off a string of bytes, which is by far the fastest thing to draw and shrinks well.

    When the bytes are used up, every further decision is the first alternative.
    """

    def __init__(self, script: bytes) -> None:
        self._script = iter(script)

    def number(self, below: int) -> int:
        """Choose a number from 0 on."""
        return next(self._script, 0) % below

    def one(self, alternatives: Sequence[_T]) -> _T:
        """Choose one of several; the first should be the simplest."""
        return alternatives[self.number(len(alternatives))]


def cut(data: bytes, sizes: bytes) -> list[bytes]:
    """Cut into pieces of these sizes, over and over again; without sizes, leave it whole."""
    steps = cycle(max(1, size) for size in sizes or [len(data)])
    pieces, at = [], 0
    while at < len(data):
        step = next(steps)
        pieces.append(data[at : at + step])
        at += step
    return pieces


def changed(data: bytes, edits: bytes) -> bytes:
    """Replace, insert, delete or double single bytes; each edit is described by four bytes."""
    changing = bytearray(data)
    for edit in range(0, len(edits) - 3, 4):
        high, low, way, byte = edits[edit : edit + 4]
        at = (high << 8 | low) % (len(changing) + 1)
        if way % 4 == 0:
            changing[at : at + 1] = bytes([byte])
        elif way % 4 == 1:
            changing[at:at] = bytes([byte])
        elif way % 4 == 2:
            del changing[at : at + 1 + byte % 8]
        else:
            changing[at:at] = changing[at : at + byte]
    return bytes(changing)


SIZES = st.binary(max_size=6)
"""Sizes for ``cut``."""

EDITS = st.binary(min_size=4, max_size=12)
"""Edits for ``changed``: one to three of them."""
