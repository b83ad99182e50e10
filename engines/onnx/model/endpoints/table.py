"""Which endpoints a model has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engines.onnx.model.endpoints.endpoint import Endpoint
from engines.onnx.model.endpoints.pairs import RerankEndpoint, ScoreEndpoint
from engines.onnx.model.endpoints.pooling import PoolingEndpoint
from engines.onnx.model.endpoints.scorers import CosineScorer, PairScorer, Scorer
from engines.onnx.model.endpoints.suggestions import SuggestEndpoint
from engines.onnx.model.endpoints.texts import ClassifyEndpoint, EmbedEndpoint, ModerationEndpoint
from engines.onnx.model.moderation import Categories
from engines.onnx.model.tasks import Classify, CrossEncode, Embed, Reading, Task
from engines.onnx.model.tokens import PromptTokenizer

PATHS = (
    "/classify",
    "/v1/moderations",
    "/v1/embeddings",
    "/v1/suggest",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/pooling",
)
"""All paths that a model of some task has."""


def endpoints(
    name: str, tokenizer: PromptTokenizer, task: Task, categories: Categories | None
) -> Mapping[str, Endpoint[Any]]:
    """Give a model's endpoints by their paths."""
    found: dict[str, Endpoint[Any]] = {}
    readings: list[Reading] = [task]
    scorer: Scorer | None = None
    if isinstance(task, Classify | CrossEncode):
        found["/classify"] = ClassifyEndpoint(name, tokenizer, task)
    if isinstance(task, Classify) and categories is not None:
        found["/v1/moderations"] = ModerationEndpoint(name, tokenizer, task, categories)
    if isinstance(task, Embed):
        found["/v1/embeddings"] = EmbedEndpoint(name, tokenizer, task)
        found["/v1/suggest"] = SuggestEndpoint(name, tokenizer, task)
        scorer = CosineScorer(tokenizer, task)
        if task.each_token is not None:
            readings.append(task.each_token)
    elif isinstance(task, CrossEncode):
        scorer = PairScorer(tokenizer, task)
    if scorer is not None:
        found |= dict.fromkeys(("/score", "/v1/score"), ScoreEndpoint(name, tokenizer, scorer))
        found |= dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), RerankEndpoint(name, tokenizer, scorer))
    found["/pooling"] = PoolingEndpoint(name, tokenizer, *readings)
    return found
