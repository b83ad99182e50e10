"""A field that takes only some values is found by its path, through lists and unions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import pytest
from msgspec import inspect

from engines.field_choices import REFUSED, choices_at


class Part(msgspec.Struct):
    kind: int | Literal["auto", "none"] = "auto"


class Thing(msgspec.Struct):
    name: str
    part: Part | None = None
    parts: list[Part] = []
    size: Literal["small"] = msgspec.field(default="small", name="Size")


@pytest.mark.parametrize(
    ("path", "choices"),
    [
        ("part.kind", ["auto", "none"]),
        ("parts[0].kind", ["auto", "none"]),
        ("parts[...].kind", ["auto", "none"]),
        ("Size", ["small"]),
        ("name", []),
        ("nothing.at[...].all", []),
        ("", []),
    ],
)
def test_the_values_of_a_field_are_found(path: str, choices: Sequence[str]) -> None:
    assert choices_at(inspect.type_info(Thing), path) == choices


def test_msgspec_says_so_where_they_are_needed() -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"^{REFUSED} 'some' - at `\$\.parts\[0\]\.kind`"):
        msgspec.json.decode(b'{"name":"a","parts":[{"kind":"some"}]}', type=Thing)
