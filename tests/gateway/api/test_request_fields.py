"""What the gateway reads of a body, and the few bytes of it that it changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.api import request_fields
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest, UnsupportedCoding, UnsupportedMediaType
from gateway.pools.policies.prompt_blocks import read_prompt


def read(body: bytes, max_depth: int = 128) -> request_fields.RequestFields:
    return request_fields.read(RequestContext(RequestHead("-"), body=body), max_depth)


def test_the_facts_are_read_and_all_else_is_ignored() -> None:
    facts = read(b'{"model":"m","stream":true,"n":2,"max_tokens":7,"messages":[{"x":1}],"new":null}', 128)
    assert (facts.model, facts.stream, facts.n, facts.token_limit()) == ("m", True, 2, 14)
    assert facts.priority == request_fields.UNSET_FIELD
    assert facts.wants_usage is False


@pytest.mark.parametrize(
    ("content", "param", "says"),
    [
        (b'{"model": 5}', "model", "Expected `str | null`, got `int`"),
        (b'{"model": "m", "stream": "maybe"}', "stream", "Expected `bool | null`, got `str`"),
        (b'{"model": "m", "stream": 2}', "stream", "Expected `bool | null`, got `int`"),
        (b'{"model": "m", "stream": [1]}', "stream", "Expected `bool | null`, got `array`"),
        (b'{"model": "m", "stream_options": {"include_usage": 2}}', "stream_options.include_usage", "Expected `bool"),
        (b'{"model": "m", "stream_options": "all"}', "stream_options", "got `str`"),
        (b'{"model": "m", "n": 1.5}', "n", "Expected `int | null`, got `float`"),
        (b'{"model": "m", "n": {}}', "n", "Expected `int | null`, got `object`"),
        (b'{"model": "m", "n": "inf"}', "n", "Expected `int | null`, got `str`"),
        (b'{"model": "m", "n": "many"}', "n", "Expected `int | null`, got `str`"),
        (b'["model"]', None, "Expected `object`, got `array`"),
        (b"null", None, "Expected `object`, got `null`"),
    ],
)
def test_a_wrong_type_names_its_field(content: bytes, param: str | None, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(content, 128)
    assert caught.value.param == param
    assert says in caught.value.message


@pytest.mark.parametrize(
    "content", [b"{", b'{"model": "m"', b"hello", b'{"model": "m"} x', b'{"model": "\xff"}', b'{"model": "\\ud800"}']
)
def test_what_is_not_json_is_refused_with_the_place(content: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read(content, 128)
    assert caught.value.code == "malformed_json"


@pytest.mark.parametrize("flag", ["true", "1", "1.0", '"true"', '"True"', '"1"', '"on"', '"yes"', '"y"', '"t"'])
def test_a_flag_is_set_by_all_that_vllm_takes_for_true(flag: str) -> None:
    fields = read(f'{{"model":"m","stream":{flag},"stream_options":{{"include_usage":{flag}}}}}'.encode())
    assert (fields.stream, fields.wants_usage) == (True, True)


@pytest.mark.parametrize("flag", ["false", "0", "0.0", '"false"', '"OFF"', '"0"', '"no"', "null"])
def test_a_flag_is_not_set_by_all_that_vllm_takes_for_false(flag: str) -> None:
    fields = read(f'{{"model":"m","stream":{flag},"stream_options":{{"include_usage":{flag}}}}}'.encode())
    assert (bool(fields.stream), fields.wants_usage) == (False, False)


@pytest.mark.parametrize("number", ["3", "3.0", "3e0", '"3"', '" 3 "', '"3.0"'])
def test_a_whole_number_is_one_however_it_is_written(number: str) -> None:
    fields = read(f'{{"model":"m","n":{number},"max_tokens":{number},"max_completion_tokens":null}}'.encode())
    assert (fields.n, fields.token_limit()) == (3, 9)


def test_a_large_number_stays_the_same_where_another_is_read_leniently() -> None:
    assert read(b'{"model":"m","n":1.0,"max_tokens":99999999999999999999}').max_tokens == 99999999999999999999


def test_null_stands_for_the_default() -> None:
    names = ("stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "max_output_tokens")
    fields = read(json.dumps({"model": "m"} | dict.fromkeys(names)).encode())
    assert (fields.model, bool(fields.stream), fields.n, fields.token_limit()) == ("m", False, None, 0)


def test_a_lenient_reading_keeps_what_the_strict_one_finds() -> None:
    fields = read(b'{"n":1.0,"model":"m","priority":7,"stream_options":{"include_usage":true},"kv_transfer_params":{}}')
    assert (fields.model, fields.wants_usage, bytes(fields.priority)) == ("m", True, b"7")
    assert bytes(fields.kv_transfer_params) == b"{}"


@pytest.mark.parametrize(("value", "expected"), [(b"7", 7), (b"-3", -3), (b"null", 0)])
def test_a_priority_is_a_whole_number_or_nothing(value: bytes, expected: int) -> None:
    assert request_fields.priority_in(Raw(value)) == expected


@pytest.mark.parametrize("value", [b'"1"', b"1.5", b"true", b"[]"])
def test_any_other_priority_is_refused_by_its_name(value: bytes) -> None:
    with pytest.raises(BadRequest, match="priority: expected a whole number") as refused:
        request_fields.priority_in(Raw(value))
    assert refused.value.param == "priority"


def test_a_byte_order_mark_is_left_out_of_the_body() -> None:
    context = RequestContext(RequestHead("-"), body=b'\xef\xbb\xbf{"model":"m"}')
    assert request_fields.read(context, 128).model == "m"
    assert context.body == b'{"model":"m"}'
    with pytest.raises(BadRequest, match="empty"):
        read(b"\xef\xbb\xbf")
    with pytest.raises(BadRequest, match="not valid JSON"):
        read(b"\xef\xbb\xbf\xef\xbb\xbf{}")


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"])
@pytest.mark.parametrize("before", ["", "ü", "x" * 65_500, "字" * 21_845, "🙂" * 40_000], ids=len)
def test_a_body_that_is_not_utf8_is_refused_with_the_place(before: str, wrong: bytes) -> None:
    body = b'{"model":"m","messages":[{"content":"%b%b"}]}' % (before.encode(), wrong)
    with pytest.raises(BadRequest) as refused:
        read(body)
    assert refused.value.code == "malformed_json"
    assert f"(byte {body.index(wrong, 37 + len(before.encode()) - 1)})" in refused.value.message


@pytest.mark.parametrize("content", ["ü", "字" * 50_000, "x🙂" * 50_000, "x" * 65_535 + "🙂"], ids=len)
def test_a_body_of_any_length_may_be_in_any_script(content: str) -> None:
    assert read(json.dumps({"model": "m", "x": content}, ensure_ascii=False).encode()).model == "m"


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(BadRequest, match="empty"):
        read(b"", 128)


@pytest.mark.parametrize(
    "media", [b"application/json", b"Application/JSON; charset=utf-8", b"application/x+json", None]
)
def test_json_by_any_name_is_read(media: bytes | None) -> None:
    request_fields.check_media({} if media is None else {b"content-type": media})


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b"", b" identity , identity"])
def test_identity_is_no_compression(coding: bytes) -> None:
    request_fields.check_media({b"content-encoding": coding})


@pytest.mark.parametrize("coding", [b"gzip", b"identity, br", b"ZSTD"])
def test_the_refusal_of_a_compressed_body_says_what_is_read(coding: bytes) -> None:
    with pytest.raises(UnsupportedCoding) as refused:
        request_fields.check_media({b"content-encoding": coding})
    assert refused.value.headers == b"accept-encoding: identity\r\n"


@pytest.mark.parametrize(
    ("name", "value"), [(b"content-type", b"application/x-www-form-urlencoded"), (b"content-encoding", b"gzip")]
)
def test_anything_else_is_refused_and_the_header_named(name: bytes, value: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match=name.decode()):
        request_fields.check_media({name: value})


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_ten_thousand_levels_are_too_deep(opening: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read(b'{"model":"m","x":' + opening * 10_000, 128)
    assert caught.value.code == "too_deep"
    assert "128" in caught.value.message


def nested(levels: int) -> bytes:
    return b'{"model":"m","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("rest", [b"", b" " * 100_000], ids=["short", "long"])
def test_the_depth_limit_is_exact(rest: bytes) -> None:
    read(nested(128) + rest, 128)
    with pytest.raises(BadRequest):
        read(nested(129) + rest, 128)


@pytest.mark.timeout(20)
def test_a_string_without_an_end_is_read_once_and_not_from_each_of_its_quotes() -> None:
    """Looked for from every quote anew, its end would take hours to miss."""
    with pytest.raises(BadRequest):
        read(b'{"x":' + b"[" * 200 + b'"' + b'\\"' * 1_900_000, 128)


@pytest.mark.parametrize("items", [b'"[",', b"[],"], ids=["strings", "arrays"])
def test_what_would_take_seconds_to_look_through_is_refused(items: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        read(b'{"model":"m","x":[' + items * 1_000_001 + b"0]}", 128)
    assert refused.value.code == "too_complex"


def test_many_strings_are_many_only_among_brackets() -> None:
    assert read(b'{"model":"m","input":[' + b'"a",' * 1_000_001 + b'""]}', 128).model == "m"


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        (b'"one"', 14),
        (b"[1, 2, 3]", 14),
        (b"[]", 14),
        (b"null", 14),
        (b'["one"]', 14),
        (b'[ "one","two, [and]", ""]', 42),
        (b"[[1, 2], [3]]", 28),
        (b"[" + b'"",' * 999_999 + b'""]', 14_000_000),
    ],
    ids=["text", "token ids", "none", "null", "one", "three", "two of token ids", "a million"],
)
def test_each_prompt_of_a_batch_may_get_so_many_tokens(prompt: bytes, tokens: int) -> None:
    assert read(b'{"model":"m","n":2,"max_tokens":7,"prompt":%b}' % prompt, 128).token_limit() == tokens


@pytest.mark.parametrize(("longest", "tokens"), [(None, 4_000_000), (4096, 16_384), (10**9, 4_000_000)])
def test_no_response_is_longer_than_the_context_of_its_model(longest: int | None, tokens: int) -> None:
    facts = read(b'{"model":"m","n":2,"max_tokens":1000000,"prompt":["a","b"]}', 128)
    assert facts.token_limit(longest) == tokens


@pytest.mark.parametrize("limit", ["1e308", "9" * 400, "-1e308"])
def test_no_number_of_tokens_is_too_large_to_be_added_up(limit: str) -> None:
    for prompt in ('"one"', "[" + '"",' * 99_999 + '""]'):
        facts = read(f'{{"model":"m","n":100,"max_tokens":{limit},"prompt":{prompt}}}'.encode(), 128)
        assert 0 <= facts.token_limit() <= 10**12


def test_brackets_in_strings_and_side_by_side_are_not_depth() -> None:
    flat = b'{"model":"m","x":[' + b",".join([b"[]", b'{"a":"[[[[\\"{{"}'] * 500) + b"]}"
    assert read(flat, 8).model == "m"


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
            assert read(content + b" " * spaces, limit).model == "m"
        else:
            with pytest.raises(BadRequest) as refused:
                read(content + b" " * spaces, limit)
            assert refused.value.code == "too_deep"


def asked(content: bytes) -> bytes:
    return request_fields.with_usage(content, read(content, 128))


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


@pytest.mark.parametrize("value", ["null", "false"])
def test_who_asks_for_no_reasons_may_ask_any_engine(value: str) -> None:
    request_fields.check_unexplained(Raw(value.encode()), "m")


@pytest.mark.parametrize("value", ["true", "{}", '"on"', '{"top":3}'])
def test_reasons_are_refused_by_the_field_that_asks_for_them(value: str) -> None:
    with pytest.raises(BadRequest, match="'m' does not explain its classes") as caught:
        request_fields.check_unexplained(Raw(value.encode()), "m")
    assert caught.value.param == "explain"


@pytest.mark.parametrize("fields", [{}, {"n": "2", "cache_salt": "tenant"}], ids=["plain", "a number in words"])
def test_a_prompt_is_the_same_whether_it_is_read_with_these_fields_or_from_the_body(fields: dict[str, str]) -> None:
    talk = [{"role": "user", "content": "What is a prefix cache? " * 100}]
    body = json.dumps({"model": "m", "messages": talk, "tools": [{"type": "function"}], **fields}).encode()
    asked = read_prompt(body, read(body))
    assert asked == read_prompt(body)
    assert len(asked.blocks) == 2
