"""The head of a request that the gateway makes itself, as the pipeline would have admitted it."""

from __future__ import annotations

from gateway.api.routes import TABLE
from gateway.core.context import RequestHead
from gateway.core.keys import ANYONE, Key

_HEADERS_UP = b"accept-encoding: identity\r\ncontent-type: application/json\r\n"


def internal_head(client: str, path: str, key: Key = ANYONE, trace: bytes = b"") -> RequestHead:
    """Make the head of a JSON request to an endpoint, in the name of a key; ``client`` is who the access log names."""
    target = path.encode()
    head = RequestHead(client, b"POST", target, target, "1.0", endpoint=path, key=key, trace=trace)
    head.match = TABLE.find(head.method, target)
    head.headers_up = _HEADERS_UP
    return head
