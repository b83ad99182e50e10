"""Which path is answered by what: the whole surface on one screen."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from loadtest.simulator.audio import transcription, translation
from loadtest.simulator.chat import chat
from loadtest.simulator.completions import completion
from loadtest.simulator.engine_response import EngineResponse, ResponseContext, UnaryResponse
from loadtest.simulator.errors import EngineError, phrase
from loadtest.simulator.messages import count_tokens, messages
from loadtest.simulator.pooling import classify, embeddings, pooling, rerank, score
from loadtest.simulator.responses import responses
from loadtest.simulator.tokenize import detokenize, tokenize

POST_ROUTES: dict[str, Callable[[ResponseContext], EngineResponse]] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completion,
    "/v1/responses": responses,
    "/v1/messages": messages,
    "/v1/messages/count_tokens": count_tokens,
    "/v1/embeddings": embeddings,
    "/classify": classify,
    "/pooling": pooling,
    "/score": score,
    "/v1/score": score,
    "/rerank": rerank,
    "/v1/rerank": rerank,
    "/v2/rerank": rerank,
    "/tokenize": tokenize,
    "/detokenize": detokenize,
    "/v1/audio/transcriptions": transcription,
    "/v1/audio/translations": translation,
}


GET_PATHS = frozenset(("/health", "/ping", "/metrics", "/v1/models", "/version"))


def answer_post(asked: ResponseContext) -> EngineResponse:
    """Return the response to a POST request; what is wrong with it becomes vLLM's error."""
    route = POST_ROUTES.get(asked.path)
    if route is None:
        return refusal(405 if asked.path in GET_PATHS else 404)
    try:
        return route(asked)
    except EngineError as error:
        # Only what vLLM's own code refuses is translated for Anthropic's clients, not what its web framework refuses.
        of_messages = asked.path.startswith("/v1/messages") and error.kind != phrase(error.status)
        return UnaryResponse(error.encode_for_messages() if of_messages else error.encode(), status=error.status)


def refusal(status: int) -> UnaryResponse:
    """Return what vLLM's web framework says to a path or method that does not exist, in a shape of its own."""
    return UnaryResponse(msgspec.json.encode({"detail": phrase(status)}), status=status)
