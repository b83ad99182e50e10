"""The fields of each endpoint's responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Usage(msgspec.Struct):
    """How many tokens a request had; nothing is generated here."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None
    completion_tokens_details: None = None


class WordWeight(msgspec.Struct):
    """A word, or a group of neighbours: where it stands, in characters of the text, and what the class loses without.

    ``weight`` is in the unit of ``probs``; below zero the word speaks against the class.
    """

    text: str
    start: int
    end: int
    weight: float


class Explanation(msgspec.Struct):
    """What each word of a text adds to a class, in the order of the text."""

    label: str | None
    words: list[WordWeight]


class Classification(msgspec.Struct):
    """The classes of one text; ``label`` is that of the greatest. ``explanation`` is there only if asked for."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int
    explanation: Explanation | msgspec.UnsetType = msgspec.UNSET


class Embedding(msgspec.Struct):
    """The vector of one text, as numbers or as their bytes in base64."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class Suggestion(msgspec.Struct):
    """A text that is worth labelling, by its place in the request, and how uncertain its class is, from 0 to 1."""

    index: int
    uncertainty: float | None
    object: str = "suggestion"


class Pooled(msgspec.Struct, omit_defaults=True):
    """What the model made of one text; ``spans`` are there only where they were asked for."""

    index: int
    object: str
    data: list[float] | list[list[float]] | str
    spans: list[Span] | None = None


class Span(msgspec.Struct):
    """Neighbouring tokens of one label: where they stand, in characters of the text, and their mean probability."""

    label: str
    score: float
    start: int
    end: int
    text: str


class Score(msgspec.Struct):
    """How much two texts have to do with each other."""

    index: int
    score: float
    object: str = "score"


class RerankDocument(msgspec.Struct):
    """A document as the client wrote it."""

    text: str
    multi_modal: None = None


class Ranked(msgspec.Struct):
    """A document's place in the request, and how much it has to do with the query."""

    index: int
    document: RerankDocument
    relevance_score: float


class Moderation(msgspec.Struct):
    """OpenAI's verdict on one text.

    A category that no label fills is false with the score 0 and no input types: with these OpenAI says that a category
    was not judged, and its SDK's types know no other way.
    """

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class ListResponse(msgspec.Struct):
    """The response of most endpoints; ``data`` holds an object for each text or pair, in order."""

    id: str
    created: int
    model: str
    data: Sequence[Any]
    usage: Usage
    object: str = "list"


class RerankUsage(msgspec.Struct):
    """How many tokens a request to ``/rerank`` had."""

    prompt_tokens: int
    total_tokens: int


class VoyageRanked(msgspec.Struct):
    """A document's place in the request and its score, as Voyage's clients read it."""

    index: int
    relevance_score: float
    document: str | msgspec.UnsetType = msgspec.UNSET


class RerankResponse(msgspec.Struct):
    """The response to ``/rerank``, the best document first; ``object`` and ``data`` are there for Voyage's clients."""

    id: str
    model: str
    usage: RerankUsage
    results: list[Ranked]
    object: str | msgspec.UnsetType = msgspec.UNSET
    data: list[VoyageRanked] | msgspec.UnsetType = msgspec.UNSET


class ModerationResponse(msgspec.Struct):
    """The response to ``/v1/moderations``."""

    id: str
    model: str
    results: list[Moderation]


class TokenizeResponse(msgspec.Struct):
    """The response to ``/tokenize``."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeResponse(msgspec.Struct):
    """The response to ``/detokenize``."""

    prompt: str


class ModelPermission(msgspec.Struct):
    """What clients may do with a model, as vLLM lists it."""

    id: str
    created: int
    object: str = "model_permission"
    allow_create_engine: bool = False
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    organization: str = "*"
    group: None = None
    is_blocking: bool = False


class ModelCard(msgspec.Struct):
    """One model of ``/v1/models``; ``max_model_len`` is in tokens."""

    id: str
    created: int
    root: str
    max_model_len: int
    permission: list[ModelPermission]
    object: str = "model"
    owned_by: str = "headgate"
    parent: None = None


class ModelList(msgspec.Struct):
    """The response to ``/v1/models``."""

    data: list[ModelCard]
    object: str = "list"
