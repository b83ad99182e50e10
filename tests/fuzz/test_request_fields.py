"""What the gateway reads of a body, and the little that it changes, is what Python's own JSON says."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.api import request_fields
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest
from tests.fuzz.cases import EDITS, Choices, cases, changed

_DEPTH = 5
_NAMES = (
    '"model"',
    '"x"',
    '"stream"',
    '"n"',
    '"max_tokens"',
    '"stream_options"',
    '"max_completion_tokens"',
    '"kv_transfer_params"',
    '"priority"',
    '"mod\\u0065l"',
    '"stre\\u0061m"',
    '"stream_\\u006fptions"',
    '"é"',
    '""',
    '"Model"',
    '"model "',
)
_VALUES = (
    '"m"',
    "null",
    "true",
    "false",
    "1",
    "0",
    "-7",
    "1.5",
    "1e3",
    "[]",
    "{}",
    '{"include_usage":true}',
    '{"include_usage":false,"continuous_usage_stats":true,"include_usage":null}',
    '{ "include_obfuscation" : [ 1 , {"a" : null } ] }',
    '"[[[{{{\\"["',
    '"\\\\"',
    '"\\ud83d\\ude00 \\u0000"',
    '"a\\\\\\"]}"',
    '[[[["deep"]]]]',
    '{"a":{"b":{"c":[1]}}}',
    "99999999999999999999",
    '"' + "é" * 20 + '"',
    "-0",
    "1e308",
    "1e309",
    "123456789e-320",
    "9" * 400,
    '{"model":"inner"}',
)
_SPACES = ("", " ", "\n", "\t", "\r\n ")


def document(script: bytes) -> bytes:
    """Write a JSON object with fields that the gateway reads and others, some of them twice."""
    choose = Choices(script)
    fields = []
    for _ in range(choose.number(7)):
        name, value = choose.one(_NAMES), choose.one(_VALUES)
        space = choose.one(_SPACES)
        fields.append(f"{space}{name}{space}:{value}{space}")
    end = choose.one(_SPACES)
    return ("{" + ",".join(fields) + "}" + end).encode()


DOCUMENTS = st.binary(max_size=24).map(document)


class NoJson(Exception):
    """Python does not read this as JSON."""


def oracle(content: bytes) -> Any:
    """Read JSON as Python does, without its extensions. Raises ``NoJson``."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        value = json.loads(content.decode(), parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()  # Half a surrogate pair is no character.
    except (ValueError, RecursionError) as error:
        raise NoJson from error
    return value


class Pairs(list[tuple[str, Any]]):
    """An object with all of its fields, also those that come twice, which no value shows."""


def nesting(value: Any) -> int:
    """Return how deep a JSON text nests, duplicates included."""
    if isinstance(value, Pairs):
        return 1 + max((nesting(each) for _, each in value), default=0)
    return 1 + max(map(nesting, value), default=0) if isinstance(value, list) else 0


def repeats(value: Any) -> bool:
    """Tell whether any field comes twice."""
    if isinstance(value, Pairs):
        return len({name for name, _ in value}) < len(value) or any(repeats(each) for _, each in value)
    return isinstance(value, list) and any(map(repeats, value))


def is_whole(number: Any) -> bool:
    return isinstance(number, int) or (isinstance(number, float) and number.is_integer())


def is_flag(flag: Any) -> bool:
    return flag is None or (isinstance(flag, bool | int | float) and flag in (0, 1))


def well_typed(value: dict[str, Any]) -> bool:
    """Tell whether the fields that the gateway reads have the types that they must have, or values that pass for them.

    Some of the values are texts, but none is a text that passes for a flag or a number.
    """
    options = value.get("stream_options")
    limits = [value.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    return (
        isinstance(value.get("model"), str | None)
        and is_flag(value.get("stream"))
        and (value.get("n") is None or is_whole(value["n"]))
        and all(
            limit is None or is_whole(limit) or (isinstance(limit, float) and math.isfinite(limit)) for limit in limits
        )
        and (options is None or (isinstance(options, dict) and is_flag(options.get("include_usage"))))
    )


def read(content: bytes) -> request_fields.RequestFields | BadRequest:
    try:
        return request_fields.read(RequestContext(RequestHead("-"), body=content), _DEPTH)
    except BadRequest as error:
        return error


def check_facts(content: bytes) -> None:
    found = read(content)
    try:
        value = oracle(content)
    except NoJson:
        return
    pairs = json.loads(content, object_pairs_hook=Pairs)
    if nesting(pairs) > _DEPTH:
        assert isinstance(found, BadRequest)
        assert found.code == "too_deep"
    elif not isinstance(value, dict):
        assert isinstance(found, BadRequest)
        assert found.code is None
    elif isinstance(found, BadRequest):
        # A field of a wrong type is refused even where the same field comes again.
        assert not well_typed(value) or repeats(pairs)
    else:
        assert well_typed(value)
        assert (found.model, found.stream, found.n) == (value.get("model"), value.get("stream"), value.get("n"))
        assert (found.max_tokens, found.max_completion_tokens) == (
            value.get("max_tokens"),
            value.get("max_completion_tokens"),
        )
        assert found.token_limit() >= 0
        assert found.wants_usage is ((value.get("stream_options") or {}).get("include_usage") is True)
        assert bool(bytes(found.priority)) is ("priority" in value)
        assert bool(bytes(found.kv_transfer_params)) is ("kv_transfer_params" in value)


@cases(0.04)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read(content: bytes) -> None:
    check_facts(content)


@cases(0.08)
@given(DOCUMENTS)
def test_facts_are_those_that_python_reads(content: bytes) -> None:
    check_facts(content)


@cases(0.08)
@given(DOCUMENTS, EDITS)
def test_documents_with_single_bytes_changed(content: bytes, edits: bytes) -> None:
    check_facts(changed(content, edits))


@cases(0.04)
@given(DOCUMENTS)
def test_asking_for_usage_changes_nothing_else(content: bytes) -> None:
    facts, value = read(content), oracle(content)
    if isinstance(facts, BadRequest) or not value:
        return
    options = dict(value.get("stream_options") or {})
    if "stream_options" in value:
        options.pop("continuous_usage_stats", None)
    assert oracle(request_fields.with_usage(content, facts)) == value | {
        "stream_options": options | {"include_usage": True}
    }


@cases(0.04)
@given(DOCUMENTS, st.sampled_from(["model", "x", "é", "kv_transfer_params", "priority"]), st.booleans())
def test_a_rewritten_field_leaves_the_others_alone(content: bytes, name: str, remove: bool) -> None:
    value = oracle(content)
    written = oracle(request_fields.rewritten(content, {name: None if remove else b'"new"'}))
    value.pop(name, None)
    assert written == (value if remove else value | {name: "new"})
