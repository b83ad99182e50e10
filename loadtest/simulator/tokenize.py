"""``/tokenize`` and ``/detokenize``."""

from __future__ import annotations

import msgspec

from loadtest.simulator import tokens
from loadtest.simulator.engine_response import ResponseContext, UnaryResponse
from loadtest.simulator.requests import DetokenizeRequest, TokenizeRequest, check_model, decode, missing


def tokenize(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/tokenize``, for a prompt or a conversation. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, TokenizeRequest)
    check_model(request.model, asked.model)
    if request.messages is None and request.prompt is None:
        raise missing("prompt")
    text = msgspec.json.encode(request.messages).decode() if request.prompt is None else request.prompt
    ids = tokens.encode(text)
    answer = {
        "count": len(ids),
        "max_model_len": asked.max_model_len,
        "tokens": ids,
        "token_strs": [tokens.decode([each]) for each in ids] if request.return_token_strs else None,
    }
    return UnaryResponse(msgspec.json.encode(answer))


def detokenize(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/detokenize``. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, DetokenizeRequest)
    check_model(request.model, asked.model)
    return UnaryResponse(msgspec.json.encode({"prompt": tokens.decode(request.tokens)}))
