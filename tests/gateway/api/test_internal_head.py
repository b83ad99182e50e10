"""The head of a request of the gateway's own is what the pipeline would have admitted."""

from __future__ import annotations

import pytest

from gateway.api.internal_head import internal_head
from gateway.core.errors import UnknownUrl
from gateway.core.keys import Key


def test_a_head_names_its_endpoint_and_key() -> None:
    key = Key("alice", frozenset())
    head = internal_head("batch", "/v1/embeddings", key, b"traceparent: x\r\n")
    assert (head.client, head.method, head.target, head.endpoint) == (
        "batch",
        b"POST",
        b"/v1/embeddings",
        "/v1/embeddings",
    )
    assert (head.key, head.trace) == (key, b"traceparent: x\r\n")
    assert head.match.template == "/v1/embeddings"
    assert b"content-type: application/json\r\n" in head.headers_up


def test_a_path_that_is_not_in_the_table_has_none() -> None:
    with pytest.raises(UnknownUrl):
        internal_head("batch", "/nowhere")
