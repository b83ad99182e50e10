"""Finds which values a field of a JSON body takes that takes only some: msgspec says only which one it does not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import inspect

REFUSED = "Invalid enum value"
"""How the message of msgspec begins that needs them."""

_STEP = re.compile(r"\[[^]]*\]|[^.[]+")
"""One step of a path: into a list, or into a field."""


def kinds_of(wanted: inspect.Type) -> tuple[inspect.Type, ...]:
    """Give the types of a union, or the type itself."""
    return wanted.types if isinstance(wanted, inspect.UnionType) else (wanted,)


def choices_at(wanted: inspect.Type, path: str) -> Sequence[object]:
    """Give the values of which a field takes one, by its path as msgspec writes it (``input[0].type``); else none."""
    kinds: tuple[inspect.Type, ...] = (wanted,)
    for step in _STEP.findall(path):
        if step.startswith("["):
            inner = [each.item_type for each in kinds if isinstance(each, inspect.ListType)]
        else:
            structs = [each for each in kinds if isinstance(each, inspect.StructType)]
            inner = [field.type for each in structs for field in each.fields if field.encode_name == step]
        kinds = tuple(one for each in inner for one in kinds_of(each))
    return [value for each in kinds if isinstance(each, inspect.LiteralType) for value in each.values]
