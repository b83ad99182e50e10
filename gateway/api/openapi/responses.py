"""The bodies of responses as the reference shows them: the fields that clients rely on.

Engines may add others. What the gateway answers by itself is described by the shapes that it writes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.api.openapi.requests import ChatMessage


class TokenUsage(msgspec.Struct):
    """How many tokens a request had."""

    prompt_tokens: int
    total_tokens: int


class ChatChoice(msgspec.Struct):
    """One answer of a chat completion."""

    index: int
    message: ChatMessage
    finish_reason: str | None


class ChatCompletion(msgspec.Struct):
    """An answer to a conversation. A stream has its events instead, and ends with `[DONE]`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage


class TextChoice(msgspec.Struct):
    """One continuation of a prompt."""

    index: int
    text: str
    finish_reason: str | None


class Completion(msgspec.Struct):
    """The continuations of a prompt."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: TokenUsage


class ResponseObject(msgspec.Struct):
    """An answer in the shape of OpenAI's Responses API."""

    id: str
    object: Literal["response"]
    model: str
    status: str
    output: list[dict[str, Any]]


class MessageUsage(msgspec.Struct):
    """How many tokens a request of Anthropic's API had."""

    input_tokens: int
    output_tokens: int


class Message(msgspec.Struct):
    """An answer in the shape of Anthropic's API."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    usage: MessageUsage


class TokenCount(msgspec.Struct):
    """How many tokens a request would have."""

    input_tokens: int


class Embedding(msgspec.Struct):
    """The vector of one text, as numbers or as their bytes in base64."""

    index: int
    embedding: list[float] | str


class EmbeddingList(msgspec.Struct):
    """The vectors of all texts, in their order."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: TokenUsage


class SuggestedText(msgspec.Struct):
    """A text that is worth labelling, by its place in the request; `uncertainty` is from 0 to 1."""

    index: int
    uncertainty: float | None


class SuggestionList(msgspec.Struct):
    """The texts that are most worth labelling, the first one most."""

    model: str
    data: list[SuggestedText]
    usage: TokenUsage


class WordWeight(msgspec.Struct):
    """A word or a group of neighbours, its place in characters, and what the class loses without it."""

    text: str
    start: int
    end: int
    weight: float


class Explanation(msgspec.Struct):
    """What each word adds to a class, in the order of the text."""

    label: str | None
    words: list[WordWeight]


class ClassifiedText(msgspec.Struct):
    """The classes of one text; `label` is that of the greatest probability."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int
    explanation: Explanation | UnsetType = UNSET


class ClassificationList(msgspec.Struct):
    """The classes of all texts, in their order."""

    model: str
    data: list[ClassifiedText]
    usage: TokenUsage


class PooledText(msgspec.Struct):
    """What the model made of one text."""

    index: int
    data: str | list[float | list[float]]


class PooledList(msgspec.Struct):
    """What the model made of all texts, in their order."""

    model: str
    data: list[PooledText]
    usage: TokenUsage


class ScoredPair(msgspec.Struct):
    """How much two texts have to do with each other."""

    index: int
    score: float


class ScoreList(msgspec.Struct):
    """The scores of all pairs, in their order."""

    model: str
    data: list[ScoredPair]
    usage: TokenUsage


class RankedDocument(msgspec.Struct):
    """A document's place in the request, and how much it has to do with the query."""

    index: int
    relevance_score: float


class RankedList(msgspec.Struct):
    """The documents, the best first."""

    model: str
    results: list[RankedDocument]


class ModeratedText(msgspec.Struct):
    """The verdict on one text."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]


class ModerationList(msgspec.Struct):
    """The verdicts on all texts, in their order."""

    id: str
    model: str
    results: list[ModeratedText]


class TokenList(msgspec.Struct):
    """The tokens of a text."""

    count: int
    max_model_len: int
    tokens: list[int]


class TokenText(msgspec.Struct):
    """The text of some tokens."""

    prompt: str


class Transcription(msgspec.Struct):
    """What was said in a recording."""

    text: str


class Version(msgspec.Struct):
    """The gateway's version."""

    version: str


class ErrorBody(msgspec.Struct):
    """What is wrong, for a person (`message`) and for a program (`code`)."""

    message: str
    type: str
    param: str | None
    code: str | int | None


class Error(msgspec.Struct):
    """Why a request was refused or failed."""

    error: ErrorBody
