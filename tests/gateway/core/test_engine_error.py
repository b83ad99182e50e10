"""What an engine says about a failure keeps its words, in whatever shape it comes, and decides the status."""

from __future__ import annotations

import json

import pytest

from gateway.core.engine_error import OVERLOADED, from_event, from_response, says_that_it_is_dead
from gateway.core.errors import Retry, Source


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"it is wrong","type":"Bad Request","param":null,"code":400}}',
        b'{"object":"error","message":"it is wrong","type":"BadRequestError","code":400}',
        b'{"detail":"it is wrong"}',
        b'{"error":"it is wrong"}',
        b'"it is wrong"',
        b"it is wrong\n",
    ],
)
def test_an_engines_message_survives_whatever_its_shape(body: bytes) -> None:
    error = from_response(400, body)
    assert json.loads(error.body()) == {
        "error": {"message": "it is wrong", "type": "invalid_request_error", "param": None, "code": None}
    }


def test_an_engines_field_and_its_textual_code_survive() -> None:
    error = from_response(422, b'{"error":{"message":"m","param":"top_p","code":"out_of_range"}}')
    assert (error.status, error.param, error.code) == (422, "top_p", "out_of_range")


def test_details_that_are_no_text_become_text() -> None:
    error = from_response(422, b'{"detail":[{"loc":["body"]}]}')
    assert error.message == '[{"loc":["body"]}]'


def test_a_prompt_that_is_too_long_has_openais_code() -> None:
    error = from_response(400, b'{"error":{"message":"This model\'s maximum context length is 8 tokens."}}')
    assert error.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"error":{"message":null}}', b'{"error":null}', b'{"error":[]}', b'{"error":{}}', b" \n"],
)
def test_an_engine_that_says_nothing_is_said_so(body: bytes) -> None:
    assert from_response(400, body).message == "The engine answered 400 without saying why."


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 100_000, b'{"error":{"message":"\\ud800"}}', b"[1,2]", b"null"])
def test_garbage_is_still_an_error_that_can_be_sent(body: bytes) -> None:
    json.loads(from_response(500, body).body())


@pytest.mark.parametrize(
    ("status", "becomes", "code"),
    [
        (400, 400, None),
        (404, 404, None),
        (415, 415, None),
        (401, 502, "upstream_failed"),
        (403, 502, "upstream_failed"),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "upstream_failed"),
        (502, 502, "upstream_failed"),
        (503, 503, "server_is_overloaded"),
        (504, 504, "upstream_timeout"),
    ],
)
def test_an_engines_status_becomes_ours(status: int, becomes: int, code: str | None) -> None:
    error = from_response(status, b'{"error":{"message":"m"}}')
    assert (error.status, error.code) == (becomes, code)


def test_an_engines_401_does_not_show_its_message() -> None:
    for error in (b'"key sk-1 is wrong"', b'{"message":"key sk-1 is wrong","code":"sk-1","key":"sk-1"}'):
        assert b"sk-1" not in from_response(401, b'{"error":%b}' % error).body()


def test_the_words_that_clients_act_on_survive_with_every_status() -> None:
    said = b'{"error":{"message":"m","type":"insufficient_quota","param":"p","code":"insufficient_quota"}}'
    for status in (400, 402, 429, 501, 502, 503, 504, OVERLOADED):
        error = from_response(status, said)
        assert (error.kind, error.code, error.param) == ("insufficient_quota", "insufficient_quota", "p")
        assert error.source is Source.ENGINE


@pytest.mark.parametrize("kind", ["Bad Request", "BadRequestError", "", 5, None])
def test_a_type_that_no_client_knows_becomes_ours(kind: object) -> None:
    assert from_response(400, json.dumps({"error": {"message": "m", "type": kind}}).encode()).kind == (
        "invalid_request_error"
    )


def test_further_fields_of_the_error_object_survive_and_those_around_it_do_not() -> None:
    inner = b'{"message":"filtered","type":null,"code":"content_filter","innererror":{"n": 1.0}}'
    error = from_response(400, b'{"error":%b,"id":7}' % inner)
    assert b'"innererror":{"n": 1.0}' in error.body()
    assert b'"id"' not in error.body()
    assert json.loads(from_response(400, b'{"object":"error","message":"m"}').body())["error"].keys() == {
        "message",
        "type",
        "param",
        "code",
    }


def test_the_list_of_one_error_that_google_answers_is_read_too() -> None:
    error = from_response(429, b'[{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}]')
    assert (error.status, error.message) == (429, "slow down")


@pytest.mark.parametrize(
    ("status", "word", "becomes"),
    [
        (500, "insufficient_quota", 429),
        (403, "insufficient_quota", 429),
        (502, "rate_limit_exceeded", 429),
        (500, "RateLimitError", 429),
        (500, "overloaded_error", 503),
        (500, "server_is_overloaded", 503),
        (400, "rate_limit_exceeded", 400),
        (402, "insufficient_quota", 402),
        (503, "rate_limit_exceeded", 503),
        (501, "invalid_request_error", 501),
        (OVERLOADED, "overloaded_error", OVERLOADED),
        (500, "invalid_request_error", 502),
    ],
)
def test_quota_and_overload_decide_a_status_that_says_little_and_no_other(status: int, word: str, becomes: int) -> None:
    for field in ("code", "type"):
        assert from_response(status, json.dumps({"error": {"message": "m", field: word}}).encode()).status == becomes


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ('{"error":{"message":"m","code":400}}', 400),
        ('{"error":{"message":"m","code":"429"}}', 429),
        ('{"error":{"message":"m","code":500,"type":"rate_limit_error"}}', 429),
        ('{"type":"error","error":{"type":"rate_limit_error","message":"m"}}', 429),
        ('{"type":"error","code":"rate_limit_exceeded","message":"m"}', 429),
        ('{"type":"error","error":{"type":"overloaded_error","message":"m"}}', 503),
        ('{"type":"error","error":{"type":"invalid_request_error","message":"m"}}', 400),
        ('{"error":{"message":"m","code":"context_length_exceeded"}}', 400),
        ('{"type":"error","error":{"type":"api_error","message":"m"}}', 502),
        ('{"error":{"message":"m","code":200}}', 502),
        ('{"error":{"message":"m","code":true}}', 502),
        ('{"error":{"message":"m","code":"invalid_api_key"}}', 502),
        ('{"error":"m"}', 502),
        ("m", 502),
    ],
)
def test_an_events_own_words_decide_its_status(event: str, status: int) -> None:
    assert from_event(event.encode()).status == status


def test_overload_has_the_status_of_the_dialect() -> None:
    event = b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}'
    error = from_event(event, overloaded=OVERLOADED)
    assert (error.status, json.loads(error.anthropic_body())["error"]["type"]) == (OVERLOADED, "overloaded_error")


def test_only_an_engine_that_has_failed_or_is_full_is_left_for_another() -> None:
    retried = [status for status in range(400, 600) if from_response(status, b"{}").retry is Retry.YES]
    assert retried == [429, 500, 502, 503, 504, OVERLOADED]


@pytest.mark.parametrize(
    ("message", "dead"),
    [
        ("EngineCore encountered an issue. See stack trace (above) for the root cause.", True),
        ("Error: EngineCore encountered an issue.", False),
        ("'NoneType' object has no attribute 'outputs'", False),
    ],
)
def test_a_vllm_whose_core_has_died_says_so(message: str, dead: bool) -> None:
    body = json.dumps({"error": {"message": message, "type": "InternalServerError", "code": 500}}).encode()
    assert says_that_it_is_dead(from_response(500, body)) is dead
    assert (
        says_that_it_is_dead(from_event(b'{"error":%b}' % json.dumps({"message": message, "code": 500}).encode()))
        is dead
    )
