"""One small request for each endpoint that engines answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

BOUNDARY = "x"

_TALK = [{"role": "user", "content": "Hi"}]
_FORM = (
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n'
    b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n--x--\r\n'
)
"""A form whose model is filled in."""

STREAMS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
"""The endpoints that generate, whose responses may be streams."""

BODIES: Mapping[str, Mapping[str, Any] | bytes] = {
    "/v1/chat/completions": {"messages": _TALK, "max_tokens": 1000},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 1000},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 1000},
    "/v1/messages": {"messages": _TALK, "max_tokens": 1000},
    "/v1/messages/count_tokens": {"messages": _TALK},
    "/v1/embeddings": {"input": "Hi"},
    "/v1/moderations": {"input": "Hi"},
    "/v1/suggest": {"input": ["Hi"]},
    "/classify": {"input": "Hi"},
    "/score": {"text_1": "Hi", "text_2": "Ho"},
    "/v1/score": {"text_1": "Hi", "text_2": "Ho"},
    "/rerank": {"query": "Hi", "documents": ["Ho"]},
    "/v1/rerank": {"query": "Hi", "documents": ["Ho"]},
    "/v2/rerank": {"query": "Hi", "documents": ["Ho"]},
    "/pooling": {"input": "Hi"},
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [1]},
    "/v1/audio/transcriptions": _FORM,
    "/v1/audio/translations": _FORM,
}
"""The fields of a request for each path, without its model, or a form whose model is filled in."""


def body_for(path: str, model: str = "m", **fields: object) -> tuple[bytes, str]:
    """Write a request, with further ``fields`` where it is no form; return its body and its media type."""
    body = BODIES[path]
    if isinstance(body, bytes):
        return body % model.encode(), f"multipart/form-data; boundary={BOUNDARY}"
    return msgspec.json.encode({"model": model, **body, **fields}), "application/json"
