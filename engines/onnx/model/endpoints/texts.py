"""Endpoints about each text for itself: its classes, its vector, or OpenAI's verdict on it."""

from __future__ import annotations

from collections.abc import Sequence

from engines.onnx.model.endpoints.endpoint import Endpoint, Plan
from engines.onnx.model.endpoints.numbers import encoded
from engines.onnx.model.moderation import Categories
from engines.onnx.model.tasks import Classify, CrossEncode, Embed, Row
from engines.onnx.model.tokens import PromptTokenizer
from engines.onnx.protocol.inputs import moderated_texts
from engines.onnx.protocol.requests import ClassifyRequest, EmbedRequest, ModerationRequest
from engines.onnx.protocol.responses import Classification, Embedding, ListResponse, ModerationResponse


class ClassifyEndpoint(Endpoint[ClassifyRequest]):
    """``/classify``; of a cross-encoder it is the one number that its graph gives each text alone, as in vLLM."""

    request_type = ClassifyRequest
    id_prefix = "classify"

    def __init__(self, name: str, tokenizer: PromptTokenizer, task: Classify | CrossEncode) -> None:
        super().__init__(name, tokenizer)
        self._task = task

    def plan(self, asked: ClassifyRequest) -> Plan:
        """Give each text its classes."""
        texts = self._tokenizer.encode(asked)

        def respond(rows: Sequence[Row], name: str) -> ListResponse:
            probabilities = self._task.pooled(rows, activate=asked.use_activation is not False)
            labels = self._task.labels
            data = [
                Classification(index, labels[int(row.argmax())], row.tolist(), len(row))
                for index, row in enumerate(probabilities)
            ]
            return self._listed(name, data, texts)

        return Plan(texts, respond)


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
