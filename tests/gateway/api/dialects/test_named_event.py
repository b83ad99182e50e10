"""An event is what its line says, and what its data say."""

from __future__ import annotations

import pytest

from gateway.api.dialects.named_event import kinds_of, name_of
from gateway.http import sse


@pytest.mark.parametrize(
    ("event", "kinds"),
    [
        (b'event: ping\ndata: {"type":"ping"}\n\n', {"ping"}),
        (b'event:ping\ndata: {"type":"ping"}\n\n', {"ping"}),
        (b'data: {"type":"ping"}\n\n', {"", "ping"}),
        (b'event: message\ndata: {"type":"message_stop"}\n\n', {"message", "message_stop"}),
        (b"event: message_stop\ndata: {}\n\n", {"message_stop"}),
        (b'data: {"error":{"message":"m"}}\n\n', {"", "error"}),
        (b'data: {"type":"x","error":null}\n\n', {"", "x"}),
        (b'data: {"type":5}\n\n', {""}),
        (b'event: error\ndata: "text"\n\n', {"error"}),
        (b"data: [DONE]\n\n", {""}),
    ],
)
def test_kinds(event: bytes, kinds: set[str]) -> None:
    assert kinds_of(event, sse.data_of(event)) == kinds


def test_the_name_is_what_the_line_says() -> None:
    assert name_of(b"event: ping\ndata: {}\n\n") == "ping"
    assert name_of(b"data: {}\n\n") == ""
