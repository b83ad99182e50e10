"""The texts of a request are found in each of the ways to write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engines.onnx.errors import BadRequest
from engines.onnx.protocol.decoding import decode
from engines.onnx.protocol.inputs import moderated_texts, sides_of, texts_of
from engines.onnx.protocol.requests import ClassifyRequest, ModerationRequest, ScoreRequest


def texts(given: Any) -> list[str] | list[list[int]]:
    return texts_of(decode(json.dumps({"input": given}).encode(), ClassifyRequest))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([[]], [[]]),
    ],
)
def test_an_input_is_one_text_or_several_as_strings_or_ids(given: Any, expected: Any) -> None:
    assert texts(given) == expected


def test_no_input_at_all_is_refused_as_vllm_does() -> None:
    with pytest.raises(BadRequest, match=r"^You must pass at least one prompt$") as raised:
        texts([])
    assert raised.value.param == "input"


@pytest.mark.parametrize(
    ("given", "message", "place"),
    [
        (["a", 1], "Expected `str` like the first input, got `int`", "input[1]"),
        ([1, 2, "a"], "Expected `int` like the first input, got `str`", "input[2]"),
        ([[1], "a"], "Expected `list` like the first input, got `str`", "input[1]"),
    ],
)
def test_inputs_are_all_of_one_kind(given: Any, message: str, place: str) -> None:
    with pytest.raises(BadRequest) as raised:
        texts(given)
    assert (raised.value.message, raised.value.param) == (message, place)


def score(**fields: Any) -> ScoreRequest:
    return decode(json.dumps(fields).encode(), ScoreRequest)


@pytest.mark.parametrize(
    ("left", "right"), [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)
def test_the_sides_of_a_score_have_vllms_four_pairs_of_names(left: str, right: str) -> None:
    one, many = sides_of(score(**{left: "a", right: ["b", "c"]}))
    assert (one.name, one.texts, one.place(0)) == (left, ["a"], left)
    assert (many.name, many.texts, many.place(1)) == (right, ["b", "c"], f"{right}[1]")


def test_half_a_pair_of_sides_is_refused_with_all_names() -> None:
    with pytest.raises(BadRequest, match="one of `queries` and `documents`, `queries` and `items`, `data_1`"):
        sides_of(score(queries="a", text_2="b"))


@pytest.mark.parametrize(
    ("left", "right", "message", "place"),
    [
        (["a", "b"], ["a", "b", "c"], "Input lengths must be either 1:1, 1:N or N:N", "text_2"),
        (["a", "b"], "a", "Input lengths must be either 1:1, 1:N or N:N", "text_2"),
        ([], ["a"], "At least one text element must be given", "text_1"),
        ("a", [], "At least one text_pair element must be given", "text_2"),
    ],
)
def test_sides_that_make_no_pairs_are_refused_as_vllm_does(left: Any, right: Any, message: str, place: str) -> None:
    with pytest.raises(BadRequest) as raised:
        sides_of(score(text_1=left, text_2=right))
    assert (raised.value.message, raised.value.param) == (message, place)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([{"type": "text", "text": "a"}], ["a"]),
    ],
)
def test_what_is_moderated_comes_in_openais_shapes(given: Any, expected: list[str]) -> None:
    assert moderated_texts(decode(json.dumps({"input": given}).encode(), ModerationRequest)) == expected


def test_nothing_to_moderate_is_refused() -> None:
    with pytest.raises(BadRequest, match="You must pass at least one prompt"):
        moderated_texts(ModerationRequest(input=[]))
