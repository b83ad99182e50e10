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
    PoolingAnswer,
    PoolingRequest,
    TokenizeRequest,
    Usage,
    decode,
    texts_of,
)


def refusal(body: bytes, kind: type[PoolingRequest] = ClassifyRequest) -> tuple[str, str | None]:
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


def test_an_answer_holds_what_vllms_holds() -> None:
    item = Classification(index=0, label="good", probs=[1.0, 0.0], num_classes=2)
    answer = PoolingAnswer(
        id="classify-1",
        created=5,
        model="m",
        data=[msgspec.Raw(msgspec.json.encode(item))],
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
