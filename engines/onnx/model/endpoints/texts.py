"""Endpoints about each text for itself: its classes, its vector, or OpenAI's verdict on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from engines.onnx.model.endpoints import explanations
from engines.onnx.model.endpoints.endpoint import Endpoint, Plan
from engines.onnx.model.endpoints.explanations import Occluded
from engines.onnx.model.endpoints.numbers import encoded
from engines.onnx.model.moderation import Categories
from engines.onnx.model.tasks import Classify, CrossEncode, Embed, Row, Rows
from engines.onnx.model.tokens import PromptTokenizer
from engines.onnx.protocol.inputs import moderated_texts, texts_of
from engines.onnx.protocol.requests import ClassifyRequest, EmbedRequest, Explain, ModerationRequest
from engines.onnx.protocol.responses import Classification, Embedding, ListResponse, ModerationResponse


class ClassifyEndpoint(Endpoint[ClassifyRequest]):
    """``/classify``; of a cross-encoder it is the one number that its graph gives each text alone, as in vLLM."""

    request_type = ClassifyRequest
    id_prefix = "classify"

    def __init__(self, name: str, tokenizer: PromptTokenizer, task: Classify | CrossEncode) -> None:
        super().__init__(name, tokenizer)
        self._task = task

    def plan(self, asked: ClassifyRequest) -> Plan:
        """Give each text its classes, with reasons if they are asked for."""
        if asked.explained is not None:
            return self._plan_explained(asked, asked.explained)
        texts = self._tokenizer.encode(asked)

        def respond(rows: Sequence[Row], name: str) -> ListResponse:
            data = [self._classification(*each) for each in enumerate(self._probabilities(rows, asked))]
            return self._listed(name, data, texts)

        return Plan(texts, respond)

    def _plan_explained(self, asked: ClassifyRequest, explain: Explain) -> Plan:
        """Compute each text, and again without each of its words, as one request: its tokens count for all of them."""
        labels = self._task.labels
        wanted = None if explain.label is None else explanations.class_of(explain.label, labels)
        placed = zip(texts_of(asked), self._tokenizer.encode_places(asked, "explain"), strict=True)
        occluded = [Occluded.of(cast(str, text), ids, explain.max_words) for text, ids in placed]
        explanations.check(occluded, explain)
        texts = [ids for each in occluded for ids in each.texts()]

        def respond(rows: Sequence[Row], name: str) -> ListResponse:
            data = []
            values = explanations.split(self._probabilities(rows, asked), occluded)
            for index, (each, found) in enumerate(zip(occluded, values, strict=True)):
                item = self._classification(index, found[0])
                best = int(found[0].argmax()) if wanted is None else wanted
                item.explanation = each.explanation(found, best, labels[best], explain.top)
                data.append(item)
            return self._listed(name, data, texts)

        return Plan(texts, respond)

    def _probabilities(self, rows: Sequence[Row], asked: ClassifyRequest) -> Rows:
        return self._task.pooled(rows, activate=asked.use_activation is not False)

    def _classification(self, index: int, row: Row) -> Classification:
        return Classification(index, self._task.labels[int(row.argmax())], row.tolist(), len(row))


class EmbedEndpoint(Endpoint[EmbedRequest]):
    """``/v1/embeddings``."""

    request_type = EmbedRequest
    id_prefix = "embd"

    def __init__(self, name: str, tokenizer: PromptTokenizer, task: Embed) -> None:
        super().__init__(name, tokenizer)
        self._task = task

    def plan(self, asked: EmbedRequest) -> Plan:
        """Give each text its vector."""
        self._task.check_dimensions(asked.dimensions, self._name)
        texts = self._tokenizer.encode(asked)

        def respond(rows: Sequence[Row], name: str) -> ListResponse:
            activate = asked.use_activation is not False
            vectors = self._task.pooled(rows, activate=activate, dimensions=asked.dimensions)
            data = [Embedding(index, encoded(row, asked)) for index, row in enumerate(vectors)]
            return self._listed(name, data, texts)

        return Plan(texts, respond)


class ModerationEndpoint(Endpoint[ModerationRequest]):
    """``/v1/moderations``."""

    request_type = ModerationRequest
    id_prefix = "modr"

    def __init__(self, name: str, tokenizer: PromptTokenizer, task: Classify, categories: Categories) -> None:
        super().__init__(name, tokenizer)
        self._task = task
        self._categories = categories

    def plan(self, asked: ModerationRequest) -> Plan:
        """Judge each text."""
        given = moderated_texts(asked)
        alone = isinstance(asked.input, str)
        texts = self._tokenizer.encode_texts(given, asked, lambda index: "input" if alone else f"input[{index}]")

        def respond(rows: Sequence[Row], name: str) -> ModerationResponse:
            probabilities = self._task.pooled(rows, activate=True)
            results = [self._categories.judge(self._task, row) for row in probabilities]
            return ModerationResponse(f"{self.id_prefix}-{name}", self._name, results)

        return Plan(texts, respond)
