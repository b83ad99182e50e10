"""What is asked: bodies of requests, made before the test begins so that making them costs it nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

_TEXT = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father
power hour game line end member law car city community name president team minute idea body information back
parent face others level office door health person art war history party result change reason research girl moment
air teacher force education
"""

WORDS = tuple(_TEXT.split())
"""Common nouns, each one token of most tokenizers: with a space before it, and as the first word of a text."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to send: the path, the JSON body, and after how many seconds its client leaves, if it does.

    ``kind`` and ``tokens`` (those of the prompt) are only noted.
    """

    path: str
    body: bytes
    leave_after: float | None = None
    kind: str = ""
    tokens: int = 0


def text(tokens: int, seed: int | str) -> str:
    """Write a text of ``tokens`` tokens, of one word each.

    The same seed gives the same text, and a longer one begins like it. Texts may be joined by spaces; their tokens
    add up. Exact with the tokenizers of SmolLM2 and of BERT; others may cut a few words in two.
    """
    draw = random.Random(seed)  # noqa: S311 - reproducible prompts, nothing secret
    return " ".join(draw.choices(WORDS, k=max(1, tokens)))


def chat(model: str, prompt: str, tokens_out: int, *, stream: bool) -> Request:
    """Make a request for a chat completion of ``tokens_out`` tokens, exactly if the engine honours ``ignore_eos``."""
    fields = {"messages": [{"role": "user", "content": prompt}], "max_completion_tokens": tokens_out}
    return Request("/v1/chat/completions", _completion(model, fields, stream=stream))


def completion(model: str, prompt: str, tokens_out: int, *, stream: bool) -> Request:
    """Make a request for a completion of ``tokens_out`` tokens, exactly if the engine honours ``ignore_eos``."""
    return Request("/v1/completions", _completion(model, {"prompt": prompt, "max_tokens": tokens_out}, stream=stream))


def embedding(model: str, prompt: str, _tokens_out: int, *, stream: bool) -> Request:  # noqa: ARG001 - all alike
    """Make a request for the embedding of a text."""
    return Request("/v1/embeddings", msgspec.json.encode({"model": model, "input": prompt}))


def classification(model: str, prompt: str, _tokens_out: int, *, stream: bool) -> Request:  # noqa: ARG001 - as above
    """Make a request for the class of a text."""
    return Request("/classify", msgspec.json.encode({"model": model, "input": prompt}))


WORKLOADS: Mapping[str, Callable[..., Request]] = {
    "chat": chat,
    "completions": completion,
    "embeddings": embedding,
    "classify": classification,
}
"""The kinds of requests, by the name that the command line uses."""


STREAMED = frozenset(("chat", "completions"))
"""Those of them that can be asked for as streams."""


def leaving(requests: Sequence[Request], share: float, seed: int, longest: float = 1.0) -> list[Request]:
    """Let the clients of a ``share`` of the requests go away within ``longest`` seconds."""
    draw = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
    return [
        replace(request, leave_after=draw.uniform(0.0, longest)) if draw.random() < share else request
        for request in requests
    ]


def _completion(model: str, fields: dict[str, Any], *, stream: bool) -> bytes:
    asked = {"model": model, **fields, "ignore_eos": True, "temperature": 0.0}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(asked)
