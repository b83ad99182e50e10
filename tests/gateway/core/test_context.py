"""A request's context tells in one line what became of it."""

from __future__ import annotations

from gateway.core.context import RequestContext, RequestHead


def test_a_new_request_is_in_flight_and_its_model_unknown() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    context.head.method, context.head.path = b"POST", b"/v1/chat/completions"
    assert repr(context) == "<Request - 'POST /v1/chat/completions' model=unknown [in flight]>"


def test_an_answered_request_shows_its_id_model_and_status() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    context.head.method, context.head.path = b"GET", b"/caf\xe9"
    context.request_id, context.model, context.status = "req-1", "m", 200
    assert repr(context) == "<Request req-1 'GET /café' model=m [200]>"


def test_whatever_bytes_a_client_sends_as_method_can_be_shown() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    context.head.method = b"\xff\xfe"
    assert "�" in repr(context)
