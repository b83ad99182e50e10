"""Requests are read as vLLM reads them, and what is wrong with one is said with its place."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from engines.onnx.errors import BadRequest
from engines.onnx.protocol import (
    Classification,
    ClassifyRequest,
    DetokenizeRequest,
    EmbedRequest,
    ListAnswer,
    ModerationRequest,
    RerankRequest,
    ScoreRequest,
    TextRequest,
    TokenizeRequest,
    Usage,
    decode,
    moderated_texts,
    sides_of,
    texts_of,
)


def refusal(body: bytes, kind: type[TextRequest] = ClassifyRequest) -> tuple[str, str | None]:
    with pytest.raises(BadRequest) as raised:
        decode(body, kind)
    return raised.value.message, raised.value.param


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


def test_fields_that_are_unknown_or_of_others_are_ignored() -> None:
    asked = decode(b'{"input": "a", "user": "me", "task": 5, "nested": {"a": [1]}}', ClassifyRequest)
    assert asked == ClassifyRequest(input="a")


def test_the_defaults_are_vllms() -> None:
    asked = decode(b'{"input": "a"}', EmbedRequest)
    assert (asked.encoding_format, asked.embed_dtype, asked.endianness) == ("float", "float32", "native")
    assert asked.add_special_tokens
    assert asked.truncate_prompt_tokens is None
    assert asked.dimensions is None


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, None),
        ({"input": None}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [None]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [2**63]}, "input[0]"),
        ({"input": [[["a"]]]}, "input[0][0]"),
        ({"input": "a", "model": 5}, "model"),
        ({"input": "a", "truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"input": "a", "truncate_prompt_tokens": "4"}, "truncate_prompt_tokens"),
        ({"input": "a", "truncation_side": "middle"}, "truncation_side"),
        ({"input": "a", "add_special_tokens": None}, "add_special_tokens"),
        ({"input": "a", "padding": "max_length"}, "padding"),
        ({"input": "a", "priority": 1}, "priority"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(fields: dict[str, Any], place: str | None) -> None:
    assert refusal(json.dumps(fields).encode())[1] == place


@pytest.mark.parametrize("encoding", ["bytes", "bytes_only", "float16"])
def test_an_encoding_that_this_engine_does_not_have_is_refused(encoding: str) -> None:
    body = json.dumps({"input": "a", "encoding_format": encoding}).encode()
    message, place = refusal(body, EmbedRequest)
    assert place == "encoding_format"
    assert encoding in message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"input": "a"} trailing',
        b'{"input": "a",}',
        b"{'input': 'a'}",
        b'{"input": "\xff\xfe"}',
        b'{"input": "\xed\xa0\x80"}',
        '{"input": "a"}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_is_refused_with_the_reason(body: bytes) -> None:
    message, place = refusal(body)
    assert message.startswith("The body is not valid JSON: ")
    assert place is None


@pytest.mark.parametrize("body", [rb'{"input": "\ud800"}', rb'{"input": "a\udfff"}', rb'{"input": "\ud800\u0041"}'])
def test_half_a_surrogate_pair_is_no_text(body: bytes) -> None:
    assert refusal(body)[0].startswith("The body is not valid JSON: ")


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert decode(rb'{"input": "\ud83d\ude00"}', ClassifyRequest).input == "\N{GRINNING FACE}"


@pytest.mark.parametrize("body", [b"[]", b"null", b'"a"', b"5"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    message, place = refusal(body)
    assert message.startswith("Expected `object`, got ")
    assert place is None


@pytest.mark.parametrize("field", ["input", "other"])
def test_nesting_without_end_is_refused(field: str) -> None:
    depth = 100_000
    body = b'{"input": "a", "%b": %b%b}' % (field.encode(), b"[" * depth, b"]" * depth)
    with pytest.raises(BadRequest):
        decode(body, ClassifyRequest)


def test_tokenize_adds_special_tokens_unless_told_otherwise() -> None:
    asked = decode(b'{"prompt": "a"}', TokenizeRequest)
    assert asked.add_special_tokens
    assert not asked.return_token_strs


@pytest.mark.parametrize("tokens", [[-1], ["a"], [2**63], None])
def test_detokenize_takes_only_what_may_be_a_token(tokens: Any) -> None:
    with pytest.raises(BadRequest) as raised:
        decode(json.dumps({"tokens": tokens}).encode(), DetokenizeRequest)
    assert (raised.value.param or "").startswith("tokens")


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
    ("fields", "place"),
    [
        ({"query": ["a"], "documents": ["b"]}, "query"),
        ({"query": "a", "documents": [5]}, "documents[0]"),
        ({"query": "a", "documents": [{"content": []}]}, "documents[0]"),
        ({"query": "a", "documents": ["b"], "top_n": -1}, "top_n"),
        ({"query": "a", "documents": ["b"], "max_tokens_per_doc": -1}, "max_tokens_per_doc"),
        ({"query": "a", "documents": ["b"], "instruction": "Be kind."}, "instruction"),
    ],
)
def test_a_wrong_value_of_rerank_is_refused_with_its_place(fields: dict[str, Any], place: str) -> None:
    assert refusal(json.dumps(fields).encode(), RerankRequest)[1] == place


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


@pytest.mark.parametrize("given", [[{"type": "image_url", "image_url": {"url": "x"}}], [[1, 2]], None])
def test_what_is_no_text_cannot_be_moderated(given: Any) -> None:
    assert (refusal(json.dumps({"input": given}).encode(), ModerationRequest)[1] or "").startswith("input")


def test_nothing_to_moderate_is_refused() -> None:
    with pytest.raises(BadRequest, match="You must pass at least one prompt"):
        moderated_texts(ModerationRequest(input=[]))


def test_an_answer_holds_what_vllms_holds() -> None:
    item = Classification(index=0, label="good", probs=[1.0, 0.0], num_classes=2)
    answer = ListAnswer(
        id="classify-1",
        created=5,
        model="m",
        data=[item],
        usage=Usage(prompt_tokens=3, total_tokens=3),
    )
    assert json.loads(msgspec.json.encode(answer)) == {
        "id": "classify-1",
        "object": "list",
        "created": 5,
        "model": "m",
        "data": [{"index": 0, "label": "good", "probs": [1.0, 0.0], "num_classes": 2}],
        "usage": {
            "prompt_tokens": 3,
            "total_tokens": 3,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
    }
