"""Every error has one shape for OpenAI's clients and one for Anthropic's, wherever it came from."""

from __future__ import annotations

import json

import pytest

from gateway.core import errors


def test_an_error_is_openais_object() -> None:
    error = errors.ModelNotFound("no such model", param="model")
    assert json.loads(error.body()) == {
        "error": {
            "message": "no such model",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.BadRequest("x"), "invalid_request_error"),
        (errors.InvalidKey("x"), "authentication_error"),
        (errors.ModelNotAllowed("x"), "permission_error"),
        (errors.UnknownUrl("x"), "not_found_error"),
        (errors.BodyTooLarge("x"), "request_too_large"),
        (errors.RateLimited("x"), "rate_limit_error"),
        (errors.UpstreamFailed("x"), "api_error"),
        (errors.QueueTimeout("x"), "overloaded_error"),
        (errors.UpstreamTimeout("x"), "api_error"),
    ],
)
def test_an_error_is_anthropics_object_too(error: errors.GatewayError, kind: str) -> None:
    body = json.loads(error.anthropic_body())
    assert (body["type"], body["error"]["type"], body["error"]["message"]) == ("error", kind, "x")


def test_a_code_of_its_own_replaces_the_class_s() -> None:
    error = errors.BadRequest("too deep", code="too_deep")
    assert repr(error) == "<BadRequest 400 too_deep: too deep>"
    assert repr(errors.BadRequest("bad")) == "<BadRequest 400 invalid_request_error: bad>"


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
    error = errors.from_engine(400, body)
    assert json.loads(error.body()) == {
        "error": {"message": "it is wrong", "type": "invalid_request_error", "param": None, "code": None}
    }


def test_an_engines_field_and_its_textual_code_survive() -> None:
    error = errors.from_engine(422, b'{"error":{"message":"m","param":"top_p","code":"out_of_range"}}')
    assert (error.status, error.param, error.code) == (422, "top_p", "out_of_range")


def test_details_that_are_no_text_become_text() -> None:
    error = errors.from_engine(422, b'{"detail":[{"loc":["body"]}]}')
    assert error.message == '[{"loc":["body"]}]'


def test_a_prompt_that_is_too_long_has_openais_code() -> None:
    error = errors.from_engine(400, b'{"error":{"message":"This model\'s maximum context length is 8 tokens."}}')
    assert error.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"error":{"message":null}}', b'{"error":null}', b'{"error":[]}', b'{"error":{}}', b" \n"],
)
def test_an_engine_that_says_nothing_is_said_so(body: bytes) -> None:
    assert errors.from_engine(400, body).message == "The engine answered 400 without saying why."


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 100_000, b'{"error":{"message":"\\ud800"}}', b"[1,2]", b"null"])
def test_garbage_is_still_an_error_that_can_be_sent(body: bytes) -> None:
    json.loads(errors.from_engine(500, body).body())


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
    error = errors.from_engine(status, b'{"error":{"message":"m"}}')
    assert (error.status, error.code) == (becomes, code)


def test_an_engines_401_does_not_show_its_message() -> None:
    assert "sk-1" not in errors.from_engine(401, b'{"error":"key sk-1 is wrong"}').message


def test_an_engines_wait_is_passed_on() -> None:
    assert errors.from_engine(503, b"", 7.0).retry_after == 7.0
    assert errors.from_engine(429, b"", 3.0).retry_after == 3.0
