"""The endpoints of models that do not generate: embeddings, classification, scores, reranking, pooling."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import Any

import msgspec

from loadtest.simulator.batch import Work
from loadtest.simulator.engine_response import ResponseContext, UnaryResponse
from loadtest.simulator.errors import EngineError
from loadtest.simulator.requests import (
    InputRequest,
    RerankRequest,
    ScoreRequest,
    check_context,
    check_pooling_model,
    decode,
    text_of_messages,
    texts_of,
    tokens_of,
)

_DIMENSIONS = 8
_LABELS = ("LABEL_0", "LABEL_1")

Input = str | list[int]


def embeddings(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/v1/embeddings`` with unit vectors that depend on the text alone. Raises ``EngineError``."""
    request, inputs, prompt_tokens = _read(asked)
    size = _DIMENSIONS if request.dimensions is None else request.dimensions
    if size < 1:
        raise EngineError("Dimensions must be greater than 0")
    data = []
    for index, each in enumerate(inputs):
        vector = _vector(each, size)
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        value: Any = packed if request.encoding_format == "base64" else vector
        data.append({"index": index, "object": "embedding", "embedding": value})
    return _listed(asked, "embd", data, prompt_tokens)


def classify(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/classify`` with probabilities that depend on the text alone. Raises ``EngineError``."""
    _, inputs, prompt_tokens = _read(asked)
    data = []
    for index, each in enumerate(inputs):
        second = _fraction(each)
        probs = [1 - second, second]
        label = _LABELS[probs.index(max(probs))]
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    return _listed(asked, "classify", data, prompt_tokens)


def pooling(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/pooling`` with one unit vector for each input. Raises ``EngineError``."""
    _, inputs, prompt_tokens = _read(asked)
    data = [
        {"index": index, "object": "pooling", "data": _vector(each, _DIMENSIONS)} for index, each in enumerate(inputs)
    ]
    return _listed(asked, "pool", data, prompt_tokens)


def score(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/score``: each left text against each right one, or the only left one. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, ScoreRequest)
    check_pooling_model(request.model, asked.model)
    left = texts_of(request.queries or request.data_1 or request.text_1, "queries")
    right = texts_of(request.documents or request.items or request.data_2 or request.text_2, "documents")
    if len(left) not in (1, len(right)):
        raise EngineError("Input lengths must be either 1:1, 1:N or N:N")
    pairs = zip(left * len(right) if len(left) == 1 else left, right, strict=True)
    data = [{"index": index, "object": "score", "score": _similarity(*pair)} for index, pair in enumerate(pairs)]
    return _listed(asked, "score", data, sum(map(tokens_of, left + right)))


def rerank(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/rerank``: the documents, the most similar to the query first. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, RerankRequest)
    check_pooling_model(request.model, asked.model)
    (query,) = texts_of(request.query, "query")[:1]
    documents = texts_of(request.documents, "documents")
    results = [
        {
            "index": index,
            "document": {"text": each if isinstance(each, str) else None, "multi_modal": None},
            "relevance_score": _similarity(query, each),
        }
        for index, each in enumerate(documents)
    ]
    results.sort(key=_relevance, reverse=True)
    prompt_tokens = sum(map(tokens_of, documents)) + tokens_of(query) * len(documents)
    answer = {
        "id": f"rerank-{asked.id}",
        "model": asked.model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        "results": results[: request.top_n] if request.top_n > 0 else results,
    }
    return UnaryResponse(msgspec.json.encode(answer), Work(prompt_tokens, 1))


def _relevance(result: dict[str, Any]) -> float:
    relevance: float = result["relevance_score"]
    return relevance


def _read(asked: ResponseContext) -> tuple[InputRequest, list[Input], int]:
    """Return the request, its inputs, and how many tokens they have."""
    request = decode(asked.body, asked.content_type, InputRequest)
    check_pooling_model(request.model, asked.model)
    if request.messages is not None:
        inputs: list[Input] = [text_of_messages(request.messages).decode()]
    else:
        inputs = texts_of(request.input, "input")
    counts = [tokens_of(each) for each in inputs]
    if request.truncate_prompt_tokens is None:
        check_context(max(counts), asked.max_model_len)
    return request, inputs, sum(counts)


def _listed(asked: ResponseContext, prefix: str, data: list[dict[str, Any]], prompt_tokens: int) -> UnaryResponse:
    usage = {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }
    answer = {
        "id": f"{prefix}-{asked.id}",
        "object": "list",
        "created": asked.created,
        "model": asked.model,
        "data": data,
        "usage": usage,
    }
    return UnaryResponse(msgspec.json.encode(answer), Work(prompt_tokens, 1))


def _digest(text: Input, size: int = 8) -> bytes:
    data = text.encode() if isinstance(text, str) else repr(text).encode()
    return hashlib.shake_128(data).digest(size)


def _fraction(text: Input) -> float:
    """Return a number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(_digest(text)) / 2**64


def _vector(text: Input, size: int) -> list[float]:
    """Return a vector of length 1 that depends on the text alone."""
    raw = [each - 127.5 for each in _digest(text, size)]
    norm = math.sqrt(sum(each * each for each in raw))
    return [each / norm for each in raw]


def _similarity(left: Input, right: Input) -> float:
    """Return the cosine of the two texts' vectors."""
    return sum(a * b for a, b in zip(_vector(left, _DIMENSIONS), _vector(right, _DIMENSIONS), strict=True))
