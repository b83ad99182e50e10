"""The shape of JSON: which fields there are and of which types, whatever their values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Shape = str | dict[str, "Shape"] | list["Shape"]
"""A type's name, an object's fields, or the different shapes among an array's elements."""


def shape(value: Any) -> Shape:
    """Return the shape of a JSON value. Integers and fractions are both ``number``."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return _distinct(shape(each) for each in value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def stream_shape(events: Iterable[bytes]) -> list[Shape]:
    """Return the shapes of server-sent events in their order; neighbours of the same shape count once.

    Each is ``{"event": name, "data": shape}``; data that is not JSON (``[DONE]``) stands for itself.
    """
    shapes: list[Shape] = []
    for event in events:
        fields = [line.decode().partition(":") for line in event.splitlines() if not line.startswith(b":")]
        known = {name: value.removeprefix(" ") for name, _, value in fields}
        if not known:
            continue
        data = known.get("data", "")
        this: Shape = {
            "event": known.get("event", ""),
            "data": shape(json.loads(data)) if data.startswith("{") else data,
        }
        if not shapes or shapes[-1] != this:
            shapes.append(this)
    return shapes


def differences(left: Shape, right: Shape, path: str = "$") -> list[str]:
    """Return one line for each place where two shapes differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        lines = []
        for key in sorted(left.keys() | right.keys()):
            if key not in left or key not in right:
                lines.append(f"{path}.{key}: only {'left' if key in left else 'right'}")
            else:
                lines += differences(left[key], right[key], f"{path}.{key}")
        return lines
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [line for at, (one, other) in pairs for line in differences(one, other, f"{path}[{at}]")]
    return [] if left == right else [f"{path}: {left!r} is not {right!r}"]


def _distinct(shapes: Iterable[Shape]) -> list[Shape]:
    found: list[Shape] = []
    for each in shapes:
        if each not in found:
            found.append(each)
    return found
