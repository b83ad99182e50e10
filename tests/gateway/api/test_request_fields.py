"""What the gateway reads of a body, and the few bytes of it that it changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import request_fields
from gateway.core.errors import BadRequest, UnsupportedMediaType


def test_the_facts_are_read_and_all_else_is_ignored() -> None:
    facts = request_fields.read(
        b'{"model":"m","stream":true,"n":2,"max_tokens":7,"messages":[{"x":1}],"new":null}', 128
    )
    assert (facts.model, facts.stream, facts.n, facts.token_limit()) == ("m", True, 2, 14)
    assert facts.priority == request_fields.UNSET_FIELD
    assert facts.wants_usage is False


@pytest.mark.parametrize(
    ("content", "param", "says"),
    [
        (b'{"model": 5}', "model", "Expected `str | null`, got `int`"),
        (b'{"model": "m", "stream": "yes"}', "stream", "Expected `bool | null`, got `str`"),
        (b'{"model": "m", "stream_options": {"include_usage": 1}}', "stream_options.include_usage", "Expected `bool"),
        (b'{"model": "m", "n": "many"}', "n", "Expected `int | null`, got `str`"),
        (b'["model"]', None, "Expected `object`, got `array`"),
        (b"null", None, "Expected `object`, got `null`"),
    ],
)
def test_a_wrong_type_names_its_field(content: bytes, param: str | None, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        request_fields.read(content, 128)
    assert caught.value.param == param
    assert says in caught.value.message


@pytest.mark.parametrize(
    "content", [b"{", b'{"model": "m"', b"hello", b'{"model": "m"} x', b'{"model": "\xff"}', b'{"model": "\\ud800"}']
)
def test_what_is_not_json_is_refused_with_the_place(content: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        request_fields.read(content, 128)
    assert caught.value.code == "malformed_json"


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(BadRequest, match="empty"):
        request_fields.read(b"", 128)


@pytest.mark.parametrize(
    "media", [b"application/json", b"Application/JSON; charset=utf-8", b"application/x+json", None]
)
def test_json_by_any_name_is_read(media: bytes | None) -> None:
    request_fields.check_media({} if media is None else {b"content-type": media, b"content-encoding": b"identity"})


@pytest.mark.parametrize(
    ("name", "value"), [(b"content-type", b"application/x-www-form-urlencoded"), (b"content-encoding", b"gzip")]
)
def test_anything_else_is_refused_and_the_header_named(name: bytes, value: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match=name.decode()):
        request_fields.check_media({name: value})


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_ten_thousand_levels_are_too_deep(opening: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        request_fields.read(b'{"model":"m","x":' + opening * 10_000, 128)
    assert caught.value.code == "too_deep"
    assert "128" in caught.value.message


def nested(levels: int) -> bytes:
    return b'{"model":"m","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("rest", [b"", b" " * 100_000], ids=["short", "long"])
def test_the_depth_limit_is_exact(rest: bytes) -> None:
    request_fields.read(nested(128) + rest, 128)
    with pytest.raises(BadRequest):
        request_fields.read(nested(129) + rest, 128)


@pytest.mark.timeout(20)
def test_a_string_without_an_end_is_read_once_and_not_from_each_of_its_quotes() -> None:
    """Looked for from every quote anew, its end would take hours to miss."""
    with pytest.raises(BadRequest):
        request_fields.read(b'{"x":' + b"[" * 200 + b'"' + b'\\"' * 1_900_000, 128)


@pytest.mark.parametrize("items", [b'"[",', b"[],"], ids=["strings", "arrays"])
def test_what_would_take_seconds_to_look_through_is_refused(items: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        request_fields.read(b'{"model":"m","x":[' + items * 1_000_001 + b"0]}", 128)
    assert refused.value.code == "too_complex"


def test_many_strings_are_many_only_among_brackets() -> None:
    assert request_fields.read(b'{"model":"m","input":[' + b'"a",' * 1_000_001 + b'""]}', 128).model == "m"


@pytest.mark.parametrize("limit", ["1e308", "9" * 400, "-1e308"])
def test_no_number_of_tokens_is_too_large_to_be_added_up(limit: str) -> None:
    facts = request_fields.read(f'{{"model":"m","n":100,"max_tokens":{limit}}}'.encode(), 128)
    assert 0 <= facts.token_limit() <= 10**18


def test_brackets_in_strings_and_side_by_side_are_not_depth() -> None:
    flat = b'{"model":"m","x":[' + b",".join([b"[]", b'{"a":"[[[[\\"{{"}'] * 500) + b"]}"
    assert request_fields.read(flat, 8).model == "m"


json_values = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(v) for v in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(v) for v in value), default=0)
    return 0


@given(json_values, st.integers(min_value=1, max_value=6))
def test_the_depth_check_agrees_with_a_walk_of_the_value(value: object, limit: int) -> None:
    content = json.dumps({"model": "m", "x": value}).encode()
    for spaces in (0, 100_000):
        if 1 + depth_of(value) <= limit:
            assert request_fields.read(content + b" " * spaces, limit).model == "m"
        else:
            with pytest.raises(BadRequest) as refused:
                request_fields.read(content + b" " * spaces, limit)
            assert refused.value.code == "too_deep"


def asked(content: bytes) -> bytes:
    return request_fields.with_usage(content, request_fields.read(content, 128))


def test_usage_is_asked_for_by_one_field_behind_the_others() -> None:
    assert asked(b'{"model":"m", "stream" : true }\n') == (
        b'{"model":"m", "stream" : true ,"stream_options":{"include_usage":true}}'
    )


def test_other_stream_options_are_kept() -> None:
    sent = asked(b'{"model":"m","stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false}}')
    assert json.loads(sent)["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_null_stream_options_are_replaced() -> None:
    assert json.loads(asked(b'{"model":"m","stream":true,"stream_options":null}'))["stream_options"] == {
        "include_usage": True
    }


def test_a_change_leaves_every_other_value_its_bytes() -> None:
    content = b'{"model":"a","temperature":1.0,"x":{"y" : [1,  2]},"kv_transfer_params":{"do":1}}'
    changed = request_fields.rewritten(content, {"model": b'"b"', "kv_transfer_params": None})
    assert changed == b'{"model":"b","temperature":1.0,"x":{"y" : [1,  2]}}'
