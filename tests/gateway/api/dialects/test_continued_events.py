"""The events of a continuation, as further events of the stream that it continues."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from gateway.api.dialects.continued_events import ContinuedEvents, Identity, text_of
from gateway.api.dialects.continued_request import ContinuedRequest

FIRST = Identity(Raw(b'"first"'), Raw(b"1"), Raw(b'"m"'))


def continuing(
    owed: str = "", *, tokens: int = 3, prompt_tokens: int | None = None, finished: bool = False
) -> ContinuedEvents:
    asked = ContinuedRequest(b"{}", owed)
    return ContinuedEvents(asked, FIRST, tokens=tokens, prompt_tokens=prompt_tokens, finished=finished)


def event(*choices: dict[str, Any], **fields: Any) -> bytes:
    data = {"id": "second", "created": 2, "model": "other", "choices": list(choices)} | fields
    return b"data: %b\n\n" % json.dumps(data).encode()


def delta(finish: str | None = None, **parts: Any) -> dict[str, Any]:
    return {"index": 0, "delta": parts, "finish_reason": finish}


def read(events: bytes) -> list[Any]:
    return [json.loads(each.removeprefix(b"data: ")) for each in events.split(b"\n\n") if each]


def test_events_get_the_ids_of_the_first_replica_and_keep_all_else() -> None:
    (got,) = read(continuing().rewrite(event(delta(content=" four"), system_fingerprint="f")))
    assert got == {
        "id": "first",
        "created": 1,
        "model": "m",
        "choices": [delta(content=" four")],
        "system_fingerprint": "f",
    }


def test_the_role_comes_only_once() -> None:
    going_on = continuing()
    assert going_on.rewrite(event(delta(role="assistant", content=""))) == b""
    (got,) = read(going_on.rewrite(event(delta(role="assistant", content="a"))))
    assert got["choices"] == [delta(content="a")]


def test_the_end_says_why_it_is_the_end() -> None:
    (got,) = read(continuing().rewrite(event(delta("stop", content=""))))
    assert got["choices"][0]["finish_reason"] == "stop"


def test_comments_the_end_marker_and_errors_pass() -> None:
    for passing in (b": hello\n\n", b"data: [DONE]\n\n", b'data: {"error":{"message":"No."}}\n\n'):
        assert continuing().rewrite(passing) == passing


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (10, 8, 18)),
        ({"prompt_tokens": 9}, (9, 9, 18)),
        ({"finished": True}, (10, 3, 13)),
        ({"tokens": 20}, (0, 18, 18)),
    ],
)
def test_the_usage_is_that_of_the_whole(options: dict[str, Any], expected: tuple[int, int, int]) -> None:
    counts = {"prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18, "details": None}
    (got,) = read(continuing(**options).rewrite(event(usage=counts)))
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "details")
    assert got["usage"] == dict(zip(names, (*expected, None), strict=True))


def test_where_only_the_usage_is_missing_no_text_comes() -> None:
    going_on = continuing(finished=True)
    assert going_on.rewrite(event(delta(content="a")) + event(delta("length", content="b"))) == b""


def test_white_space_that_is_owed_is_left_out_however_it_comes() -> None:
    for pieces in (["\n\nA"], ["\n", "\nA"], ["\n", "\n", "A"]):
        going_on = continuing("\n\n")
        got = read(b"".join(going_on.rewrite(event(delta(content=piece))) for piece in pieces))
        assert [each["choices"][0]["delta"]["content"] for each in got] == ["A"]


@pytest.mark.parametrize(
    "said",
    [
        event(delta(content="A")),
        event(delta(reasoning="Hm")),
        event(delta(tool_calls=[{"index": 0}])),
        event({"index": 1, "delta": {"content": "\n"}}),
        event({"index": 0, "delta": 5}),
        event(usage={"prompt_tokens": 1}),
        b"data: [1]\n\n",
        b"data: nonsense\n\n",
    ],
)
def test_what_does_not_go_on_from_the_text_becomes_an_error(said: bytes) -> None:
    (got,) = read(continuing("\n").rewrite(said))
    assert got["error"]["message"] == "The engine did not go on from the text so far."


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        (b'{"index":0,"delta":{"role":"assistant","content":"a\\nb"},"logprobs":null}', b"a\\nb"),
        (b'{"index":0,"text":"a","finish_reason":"stop","stop_reason":7}', b"a"),
        (b'{"index":0,"delta":null}', b""),
        (b'{"index":0,"delta":{"content":null,"tool_calls":[]}}', b""),
        (b'{"index":1,"text":"a"}', None),
        (b'{"index":0,"text":"a","logprobs":{"tokens":["a"]}}', None),
        (b'{"index":0,"delta":{"content":"a","refusal":"No."}}', None),
    ],
)
def test_the_text_of_a_choice_that_is_nothing_but_text(choice: bytes, text: bytes | None) -> None:
    fields = {
        name: Raw(json.dumps(value, separators=(",", ":")).encode()) for name, value in json.loads(choice).items()
    }
    assert text_of(fields) == text


def test_a_continuation_says_where_it_begins() -> None:
    assert repr(continuing()) == "<ContinuedEvents behind 3 tokens>"
