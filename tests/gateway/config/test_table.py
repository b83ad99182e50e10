"""A table tells everything that is wrong with it at once, in one way for files and for values in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from gateway.config.table import SECRET, Mistake, Table, nearest, plain


class Inner(Table):
    size: int = Field(1, ge=0)
    names: tuple[str, ...] = Field((), strict=False)


class Outer(Table):
    """A table with a rule: ``first`` needs ``second``."""

    first: int | None = None
    second: int | None = None
    password: Annotated[str, SECRET] = ""
    needed: str = Field(description="What is needed.")
    inner: Inner = Field(default_factory=Inner)

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if "first" in given and "second" not in given:
            yield Mistake(("first",), "needs second")


def told(given: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(given)
    return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in caught.value.errors()]


def test_what_is_wrong_between_options_is_told_with_what_is_wrong_by_itself() -> None:
    assert told({"first": "x", "inner": {"size": -1, "names": 3, "sise": 1}}) == [
        "first: input should be a valid integer (it is 'x')",
        "needed: is missing; expected: what is needed",
        "inner.size: input should be greater than or equal to 0 (it is -1)",
        "inner.names: expected a list",
        "inner.sise: is not an option; did you mean 'size'?",
        "first: needs second",
    ]


def test_a_rule_alone_is_enough() -> None:
    assert told({"first": 1, "needed": ""}) == ["first: needs second"]
    assert Outer.model_validate({"first": 1, "second": 2, "needed": ""}).second == 2


def test_json_is_told_the_same() -> None:
    with pytest.raises(ValidationError, match=r"first\n  needs second"):
        Outer.model_validate_json('{"first": 1, "needed": ""}')


def test_a_valid_table_is_taken_as_it_is() -> None:
    table = Outer(needed="x")
    assert Outer.model_validate(table) is table


@pytest.mark.parametrize("given", [3, [], None])
def test_what_is_no_table_is_told(given: Any) -> None:
    assert told({"needed": "", "inner": given}) == ["inner: expected a table"]


def test_a_secret_is_never_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"needed": "", "password": 12345})
    assert "12345" not in str(caught.value)
    assert told({"needed": "", "password": 12345}) == ["password: input should be a valid string"]


def test_an_option_that_resembles_no_other_gets_the_whole_list() -> None:
    assert told({"needed": "", "zzz": 1}) == [
        "zzz: is not an option; known are: first, second, password, needed, inner"
    ]


def test_a_table_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer(needed="x").needed = "y"  # type: ignore[misc]


def test_the_nearest_name() -> None:
    assert nearest("lisen", ["listen", "limits"]) == "listen"
    assert nearest("zzz", ["listen"]) is None


def test_a_table_within_one_that_may_hold_anything() -> None:
    assert plain({"a": {"b": 1}}, "a") == {"b": 1}
    assert plain({"a": 3}, "a") == {}
