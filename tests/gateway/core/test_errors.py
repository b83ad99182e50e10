"""Every error has one shape for OpenAI's clients and one for Anthropic's, wherever it came from."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

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
        (errors.UpstreamTimeout("x"), "timeout_error"),
        (errors.EngineRefusal(402, "x", kind="billing"), "billing_error"),
        (errors.EngineRefusal(402, "x", kind="invalid_request_error"), "billing_error"),
        (errors.Unavailable("x", kind="overloaded_error"), "overloaded_error"),
        (errors.RateLimited("x", kind="insufficient_quota"), "rate_limit_error"),
        (errors.UpstreamFailed("x", kind="not_found_error"), "not_found_error"),
    ],
)
def test_an_error_is_anthropics_object_too(error: errors.GatewayError, kind: str) -> None:
    body = json.loads(error.anthropic_body())
    assert (body["type"], body["error"]["type"], body["error"]["message"]) == ("error", kind, "x")


def test_a_code_of_its_own_replaces_the_class_s() -> None:
    error = errors.BadRequest("too deep", code="too_deep")
    assert repr(error) == "<BadRequest 400 too_deep: too deep>"
    assert repr(errors.BadRequest("bad")) == "<BadRequest 400 invalid_request_error: bad>"


def test_what_else_an_engine_said_stands_beside_the_fields_that_clients_know() -> None:
    error = errors.EngineRefusal(400, "filtered", code="content_filter")
    error.details = {"innererror": Raw(b'{"hate":true}')}
    assert json.loads(error.body())["error"] == {
        "message": "filtered",
        "type": "invalid_request_error",
        "param": None,
        "code": "content_filter",
        "innererror": {"hate": True},
    }
    assert json.loads(error.anthropic_body())["error"]["innererror"] == {"hate": True}


@pytest.mark.parametrize(
    ("error", "source", "retry"),
    [
        (errors.BadRequest("x"), errors.Source.CLIENT, errors.Retry.NO),
        (errors.RateLimited("x"), errors.Source.CLIENT, errors.Retry.NO),
        (errors.GatewayError("x"), errors.Source.GATEWAY, errors.Retry.NO),
        (errors.NoReadyReplica("x"), errors.Source.GATEWAY, errors.Retry.NO),
        (errors.UpstreamFailed("x"), errors.Source.ENGINE, errors.Retry.YES),
        (errors.UpstreamTimeout("x"), errors.Source.ENGINE, errors.Retry.NO),
        (errors.ConnectTimeout("x"), errors.Source.ENGINE, errors.Retry.YES),
        (errors.FirstByteTimeout("x"), errors.Source.ENGINE, errors.Retry.YES),
        (errors.BetweenBytesTimeout("x"), errors.Source.ENGINE, errors.Retry.YES),
        (errors.TotalTimeout("x"), errors.Source.ENGINE, errors.Retry.NO),
        (errors.EngineRefusal(400, "x"), errors.Source.ENGINE, errors.Retry.NO),
    ],
)
def test_an_error_says_who_caused_it_and_whether_another_replica_may_do_better(
    error: errors.GatewayError, source: errors.Source, retry: errors.Retry
) -> None:
    assert (error.source, error.retry) == (source, retry)
