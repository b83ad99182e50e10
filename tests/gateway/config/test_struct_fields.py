"""What an engine declares becomes options of a table, with the same types, bounds, checks and meanings."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta
from pydantic import ValidationError

from gateway.config.struct_fields import table_of, with_options_of
from gateway.config.table import Table


def even(number: int) -> None:
    if number % 2:
        raise ValueError("expected an even number")


class Part(msgspec.Struct):
    name: Annotated[str, Meta(description="A name.", examples=["a"])]


class Declared(msgspec.Struct):
    """What the tests declare."""

    words: Annotated[tuple[str, ...], Meta(description="Words.", examples=[["a"]])] = ()
    number: Annotated[int, Meta(gt=0, le=8, description="A number.", extra={"check": even})] | None = None
    part: Annotated[Part, Meta(description="A part.", examples=[{"name": "b"}])] | None = None


@with_options_of(Declared)
class Extended(Table):
    """A table with options of its own."""

    own: str = ""


def test_a_table_has_its_own_options_and_those_declared() -> None:
    table: Any = Extended.model_validate({"own": "x", "words": ["a"], "number": 2, "part": {"name": "n"}})
    assert (table.own, table.words, table.number, table.part.name) == ("x", ("a",), 2, "n")
    assert (Extended.__name__, Extended.__doc__) == ("Extended", "A table with options of its own.")
    assert Extended.model_validate({}) == Extended(own="")


def test_a_declaration_is_described_and_exemplified() -> None:
    fields = table_of(Declared).model_fields
    assert (fields["number"].description, fields["words"].examples) == ("A number.", [["a"]])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"number": 0}, "number: input should be greater than 0 (it is 0)"),
        ({"number": 10}, "number: input should be less than or equal to 8 (it is 10)"),
        ({"number": 3}, "number: expected an even number (it is 3)"),
        ({"number": "2"}, "number: input should be a valid integer (it is '2')"),
        ({"words": "a"}, "words: expected a list"),
        ({"words": [1]}, "words.0: input should be a valid string (it is 1)"),
        ({"part": {}}, "part.name: is missing; expected: a name"),
        ({"part": {"name": "a", "nam": 1}}, "part.nam: is not an option; did you mean 'name'?"),
        ({"word": 1}, "word: is not an option; did you mean 'words'?"),
    ],
    ids=str,
)
def test_bounds_types_and_checks_hold(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Extended.model_validate(given)
    assert [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in caught.value.errors()] == [told]
