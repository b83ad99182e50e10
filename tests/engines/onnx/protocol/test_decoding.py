"""Requests are read as vLLM reads them, and what is wrong with one is said with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engines.onnx.errors import BadRequest
from engines.onnx.protocol.decoding import decode
from engines.onnx.protocol.requests import (
    MOST_TEXTS,
    ClassifyRequest,
    DetokenizeRequest,
    EmbedRequest,
    ModerationRequest,
    PoolingRequest,
    RerankRequest,
    ScoreRequest,
    SuggestRequest,
    TokenizeRequest,
)


def refusal(body: bytes, kind: type[msgspec.Struct] = ClassifyRequest) -> tuple[str, str | None]:
    with pytest.raises(BadRequest) as raised:
        decode(body, kind)
    return raised.value.message, raised.value.param


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
        ({"input": "a", "truncate_prompt_tokens": "four"}, "truncate_prompt_tokens"),
        ({"input": "a", "truncate_prompt_tokens": 1.5}, "truncate_prompt_tokens"),
        ({"input": "a", "truncate_prompt_tokens": "1", "truncation_side": 5}, "truncation_side"),
        ({"input": "a", "truncate": "some"}, "truncate"),
        ({"input": "a", "truncate": 2}, "truncate"),
        ({"input": "a", "truncation_side": "middle"}, "truncation_side"),
        ({"input": "a", "add_special_tokens": "perhaps"}, "add_special_tokens"),
        ({"input": "a", "padding": "max_length"}, "padding"),
        ({"input": "a", "priority": 1}, "priority"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(fields: dict[str, Any], place: str | None) -> None:
    assert refusal(json.dumps(fields).encode())[1] == place


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (
            EmbedRequest,
            {"input": "a", "encoding_format": "bytes"},
            "Invalid enum value 'bytes', expected 'base64' or 'float' - at `$.encoding_format`",
        ),
        (
            EmbedRequest,
            {"input": "a", "truncate": "end"},
            "Invalid enum value 'end', expected 'END' or 'NONE' or 'START' - at `$.truncate`",
        ),
        (
            ModerationRequest,
            {"input": ["a", {"type": "image_url"}]},
            "Invalid enum value 'image_url', expected 'text' - at `$.input[1].type`",
        ),
        (
            # The value itself does not lead astray.
            EmbedRequest,
            {"input": "a", "encoding_format": " - at `$.input`"},
            "Invalid enum value ' - at `$.input`', expected 'base64' or 'float' - at `$.encoding_format`",
        ),
    ],
)
def test_a_field_that_takes_few_values_is_refused_with_all_of_them(
    kind: type[msgspec.Struct], fields: dict[str, Any], message: str
) -> None:
    assert refusal(json.dumps(fields).encode(), kind)[0] == message


@pytest.mark.parametrize(
    ("kind", "fields", "name"),
    [
        (EmbedRequest, {}, "input"),
        (ModerationRequest, {}, "input"),
        (RerankRequest, {"query": "a"}, "documents"),
        (ScoreRequest, {"text_1": "a"}, "text_2"),
    ],
)
def test_a_request_has_so_many_texts_and_no_more(kind: type[msgspec.Struct], fields: dict[str, Any], name: str) -> None:
    decode(json.dumps(fields | {name: ["a"] * MOST_TEXTS}).encode(), kind)
    refused = json.dumps(fields | {name: ["a"] * (MOST_TEXTS + 1)}).encode()
    assert refusal(refused, kind) == (f"Expected `array` of length <= {MOST_TEXTS} - at `$.{name}`", name)


REQUIRED: dict[type[msgspec.Struct], dict[str, Any]] = {
    ClassifyRequest: {"input": "a"},
    EmbedRequest: {"input": "a"},
    PoolingRequest: {"input": "a"},
    SuggestRequest: {"input": "a"},
    ModerationRequest: {"input": "a"},
    ScoreRequest: {"text_1": "a", "text_2": "b"},
    RerankRequest: {"query": "a", "documents": ["b"]},
    TokenizeRequest: {"prompt": "a"},
    DetokenizeRequest: {"tokens": [1]},
}
"""Every kind of request, with the fields that it cannot do without."""

OPTIONAL = [
    (kind, field.name, str(field.type))
    for kind, required in REQUIRED.items()
    for field in msgspec.structs.fields(kind)
    if field.name not in required and field.name != "normalize"
]
INTEGERS = [(kind, name) for kind, name, wanted in OPTIONAL if re.search(r"\bint\b|Literal\[0\]", wanted)]
BOOLEANS = [
    (kind, name) for kind, name, wanted in OPTIONAL if re.search(r"\bbool\b", wanted) and "Explain" not in wanted
]
"""What is a boolean or an object is not among them: an empty object is right there."""


def test_all_kinds_of_fields_are_found() -> None:
    assert {name for _, name in INTEGERS} == {
        "count",
        "dimensions",
        "max_tokens_per_doc",
        "max_tokens_per_query",
        "priority",
        "top_k",
        "top_n",
        "truncate_prompt_tokens",
    }
    assert {name for _, name in BOOLEANS} == {
        "add_special_tokens",
        "return_documents",
        "return_spans",
        "return_token_strs",
        "truncate",
        "truncation",
        "use_activation",
    }


def written(kind: type[msgspec.Struct], field: str, value: Any) -> bytes:
    """Write a request with one field besides those that it cannot do without."""
    return json.dumps(REQUIRED[kind] | {field: value}).encode()


@pytest.mark.parametrize("kind", REQUIRED)
def test_null_stands_for_a_fields_default(kind: type[msgspec.Struct]) -> None:
    defaults = {each.name: each.default for each in msgspec.structs.fields(kind)}
    for field in [name for owner, name, _ in OPTIONAL if owner is kind]:
        assert getattr(decode(written(kind, field, None), kind), field) in (defaults[field], None), field


@pytest.mark.parametrize("write", [float, str, " {} ".format, bool])
def test_a_number_may_come_as_pydantic_takes_it(write: Callable[[int], Any]) -> None:
    for kind, field in INTEGERS:
        number = 0 if field == "priority" else 1
        lenient = decode(written(kind, field, write(number)), kind)
        assert lenient == decode(written(kind, field, number), kind)
        assert type(getattr(lenient, field)) is int


@pytest.mark.parametrize("wrong", ["", "one", "1.5", 1.5, [], {}, "true"])
def test_what_is_no_number_is_refused_with_its_place(wrong: Any) -> None:
    for kind, field in INTEGERS:
        assert refusal(written(kind, field, wrong), kind)[1] == field


@pytest.mark.parametrize(
    ("lax", "strict"),
    [(word, True) for word in (1, 1.0, "1", "true", "True", "TRUE", "t", "yes", "Y", "on")]
    + [(word, False) for word in (0, 0.0, "0", "false", "False", "f", "no", "N", "off")],
)
def test_a_boolean_may_come_as_pydantic_takes_it(lax: Any, strict: bool) -> None:
    for kind, field in BOOLEANS:
        lenient = decode(written(kind, field, lax), kind)
        assert lenient == decode(written(kind, field, strict), kind)
        assert getattr(lenient, field) is strict


@pytest.mark.parametrize("wrong", ["", "maybe", 2, -1, 0.5, [], {}])
def test_what_is_no_boolean_is_refused_with_its_place(wrong: Any) -> None:
    for kind, field in BOOLEANS:
        assert refusal(written(kind, field, wrong), kind)[1] == field


@pytest.mark.parametrize("kind", REQUIRED)
def test_a_byte_order_mark_is_passed_over(kind: type[msgspec.Struct]) -> None:
    body = json.dumps(REQUIRED[kind]).encode()
    assert decode(b"\xef\xbb\xbf" + body, kind) == decode(body, kind)


@pytest.mark.parametrize("kind", REQUIRED)
def test_null_does_not_stand_for_what_has_no_default(kind: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(kind):
        if field.required:
            with pytest.raises(BadRequest) as raised:
                decode(json.dumps(REQUIRED[kind] | {field.name: None}).encode(), kind)
            assert raised.value.param == field.name


@pytest.mark.parametrize(
    ("given", "expected"), [([1.0, 2.0], [1, 2]), ([[3.0], ["4"]], [[3], [4]]), (["1", "2"], ["1", "2"]), ("1", "1")]
)
def test_token_ids_may_be_lax_numbers_and_texts_stay_texts(given: Any, expected: Any) -> None:
    body = json.dumps({"input": given, "use_activation": 1}).encode()
    assert decode(body, ClassifyRequest).input == expected


def test_a_removed_parameter_is_seen_though_it_is_null() -> None:
    body = b'{"input": "a", "normalize": null, "use_activation": 1}'
    assert decode(body, ClassifyRequest).normalize is None


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
        b'{"input": "a", "unknown": "\xff"}',
        b'{"input": "a", "\xff": 1}',
        b'\xef\xbb\xbf\xef\xbb\xbf{"input": "a"}',
        b'{"input": "a", "top_n": 1.0, "unknown": }',
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


@pytest.mark.parametrize("given", [[{"type": "image_url", "image_url": {"url": "x"}}], [[1, 2]], None])
def test_what_is_no_text_cannot_be_moderated(given: Any) -> None:
    assert (refusal(json.dumps({"input": given}).encode(), ModerationRequest)[1] or "").startswith("input")
