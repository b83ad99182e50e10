"""The whole surface of the data plane on one screen; what is not in these two tables is a 404, whatever engines do."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.api.dialects.completions import Completions, Plain
from gateway.api.dialects.messages import Messages
from gateway.api.dialects.responses import Responses
from gateway.api.dialects.transcriptions import Transcriptions
from gateway.api.local.models import Page, health, model, models, version
from gateway.api.routes import Endpoint

_COMPLETIONS, _PLAIN, _MESSAGES, _RESPONSES = Completions(), Plain(), Messages(), Responses()
_TRANSCRIPTIONS = Transcriptions()

ENDPOINTS: Mapping[bytes, Endpoint] = {
    b"/v1/chat/completions": Endpoint(_COMPLETIONS, "generate"),
    b"/v1/completions": Endpoint(_COMPLETIONS, "generate"),
    b"/v1/responses": Endpoint(_RESPONSES, "generate"),
    b"/v1/messages": Endpoint(_MESSAGES, "generate"),
    b"/v1/messages/count_tokens": Endpoint(_MESSAGES, "generate", streams=False),
    b"/v1/embeddings": Endpoint(_PLAIN, "embed", streams=False),
    b"/v1/moderations": Endpoint(_PLAIN, "moderate", streams=False),
    b"/classify": Endpoint(_PLAIN, "classify", streams=False),
    b"/score": Endpoint(_PLAIN, "score", streams=False),
    b"/v1/score": Endpoint(_PLAIN, "score", streams=False),
    b"/rerank": Endpoint(_PLAIN, "score", streams=False),
    b"/v1/rerank": Endpoint(_PLAIN, "score", streams=False),
    b"/v2/rerank": Endpoint(_PLAIN, "score", streams=False),
    b"/pooling": Endpoint(_PLAIN, "pooling", streams=False),
    b"/tokenize": Endpoint(_PLAIN, None, streams=False),
    b"/detokenize": Endpoint(_PLAIN, None, streams=False),
    b"/v1/audio/transcriptions": Endpoint(_TRANSCRIPTIONS, "transcribe", multipart=True),
    b"/v1/audio/translations": Endpoint(_TRANSCRIPTIONS, "transcribe", multipart=True),
}
"""What engines answer, by path; all are POST. The second column is what a model must do; ``None``: anything."""

PAGES: Mapping[bytes, Page] = {
    b"/v1/models": Page((b"GET",), models, guarded=True),
    b"/v1/models/": Page((b"GET",), model, guarded=True),
    b"/health": Page((b"GET",), health, guarded=False),
    b"/ping": Page((b"GET", b"POST"), health, guarded=False),
    b"/version": Page((b"GET",), version, guarded=False),
}
"""What the gateway answers by itself, by path; a path that ends in a slash stands for all below it."""
