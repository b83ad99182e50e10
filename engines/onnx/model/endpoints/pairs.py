"""Endpoints about pairs of texts: how well each fits, and which documents fit a query best."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engines.onnx.model.endpoints.endpoint import Endpoint, Plan
from engines.onnx.model.endpoints.scorers import Scorer
from engines.onnx.model.tasks import Row
from engines.onnx.model.tokens import PromptTokenizer
from engines.onnx.protocol.inputs import Side, check_lengths, sides_of
from engines.onnx.protocol.requests import RerankRequest, ScoreRequest
from engines.onnx.protocol.responses import (
    ListResponse,
    Ranked,
    RerankDocument,
    RerankResponse,
    RerankUsage,
    Score,
    VoyageRanked,
)


class ScoreEndpoint(Endpoint[ScoreRequest]):
    """``/score`` and ``/v1/score``."""

    request_type = ScoreRequest
    id_prefix = "score"

    def __init__(self, name: str, tokenizer: PromptTokenizer, scorer: Scorer) -> None:
        super().__init__(name, tokenizer)
        self._scorer = scorer

    def plan(self, asked: ScoreRequest) -> Plan:
        """Give each pair its score."""
        texts, to_scores = self._scorer.plan(*sides_of(asked), asked)

        def respond(rows: Sequence[Row], name: str) -> ListResponse:
            return self._listed(name, [Score(*each) for each in enumerate(to_scores(rows))], texts)

        return Plan(texts, respond)


class RerankEndpoint(Endpoint[RerankRequest]):
    """``/rerank``, ``/v1/rerank`` and ``/v2/rerank``."""

    request_type = RerankRequest
    id_prefix = "score"

    def __init__(self, name: str, tokenizer: PromptTokenizer, scorer: Scorer) -> None:
        super().__init__(name, tokenizer)
        self._scorer = scorer

    def plan(self, asked: RerankRequest) -> Plan:
        """Put the documents in order, the best first."""
        left, right = Side.of("query", asked.query), Side.of("documents", asked.documents)
        check_lengths(left, right)
        texts, to_scores = self._scorer.plan(left, right, asked)

        def respond(rows: Sequence[Row], name: str) -> RerankResponse:
            scores = to_scores(rows)
            order = sorted(range(len(scores)), key=lambda index: -scores[index])[: asked.most]
            results = [Ranked(index, RerankDocument(right.texts[index]), scores[index]) for index in order]
            tokens = sum(map(len, texts))
            response = RerankResponse(f"{self.id_prefix}-{name}", self._name, RerankUsage(tokens, tokens), results)
            return _with_data(response, asked) if asked.from_voyage else response

        return Plan(texts, respond)


def _with_data(response: RerankResponse, asked: RerankRequest) -> RerankResponse:
    """Add what Voyage's clients read."""
    data = [VoyageRanked(each.index, each.relevance_score) for each in response.results]
    if asked.return_documents:
        for item, each in zip(data, response.results, strict=True):
            item.document = each.document.text
    return msgspec.structs.replace(response, object="list", data=data)
