"""The endpoint ``/pooling``, which gives what a model makes of texts or of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from engines.onnx.errors import BadRequest
from engines.onnx.model.endpoints.endpoint import Endpoint, Plan
from engines.onnx.model.endpoints.numbers import encoded
from engines.onnx.model.spans import spans
from engines.onnx.model.tasks import ClassifyTokens, EmbedTokens, Reading, Row
from engines.onnx.model.tokens import EachTokenIds, PromptTokenizer, TokenIds
from engines.onnx.protocol.inputs import texts_of
from engines.onnx.protocol.requests import PoolingRequest
from engines.onnx.protocol.responses import ListResponse, Pooled

_MAX_VECTORS = 8192
"""Of so many tokens a request gets the vectors: with 384 dimensions about 60 MB of JSON and half a second of a core."""

_REMOVED = {"score": "`classify`", "encode": "`token_embed` or `token_classify`"}


class PoolingEndpoint(Endpoint[PoolingRequest]):
    """``/pooling``: vectors, probabilities, or either for each token, as the model has them.

    The first of the ``readings`` is what a request gets that names no task.
    """

    request_type = PoolingRequest
    id_prefix = "pooling"

    def __init__(self, name: str, tokenizer: PromptTokenizer, *readings: Reading) -> None:
        super().__init__(name, tokenizer)
        self._readings = {reading.pooling: reading for reading in readings}

    def plan(self, asked: PoolingRequest) -> Plan:
        """Give each text what the model makes of it."""
        reading = self._chosen(asked)
        if asked.return_spans:
            return self._plan_spans(asked, reading)
        texts = self._tokenizer.encode(asked)
        if isinstance(reading, EmbedTokens):
            texts = self._each_token(texts)
        return Plan(texts, lambda rows, name: self._listed(name, _pooled(reading, rows, asked), texts))

    def _plan_spans(self, asked: PoolingRequest, task: Reading) -> Plan:
        if not isinstance(task, ClassifyTokens):
            raise BadRequest(f"Model {self._name!r} does not classify tokens", param="return_spans")
        placed = self._tokenizer.encode_places(asked, "return_spans")
        given = cast(list[str], texts_of(asked))

        def respond(rows: Sequence[Row], name: str) -> ListResponse:
            items = _pooled(task, rows, asked)
            probabilities = task.pooled(rows, activate=True)
            for item, text, ids, each in zip(items, given, placed, probabilities, strict=True):
                item.spans = spans(text, ids, each, task.labels)
            return self._listed(name, items, placed)

        return Plan(placed, respond)

    def _each_token(self, texts: Sequence[TokenIds]) -> list[TokenIds]:
        """Ask for the vectors of tokens, so many that encoding them does not hold up other requests for long."""
        tokens, most = sum(map(len, texts)), max(_MAX_VECTORS, self._tokenizer.max_length)
        if tokens > most:
            raise BadRequest(
                f"A request gets the vectors of at most {most} tokens, but its inputs have {tokens}; send it in parts.",
                param="input",
            )
        return [EachTokenIds(text) for text in texts]

    def _chosen(self, asked: PoolingRequest) -> Reading:
        """Find what is asked for, and refuse what the model does not have, in vLLM's words."""
        if asked.dimensions is not None:
            raise BadRequest("dimensions is currently not supported", param="dimensions")
        if asked.task in _REMOVED:
            raise BadRequest(f"`{asked.task}` task was removed; use {_REMOVED[asked.task]} instead.", param="task")
        known = tuple(self._readings)
        task = known[0] if asked.task is None else asked.task
        if task not in self._readings:
            raise BadRequest(f"Unsupported task: {task!r} Supported tasks: {known!r}", param="task")
        return self._readings[task]


def _pooled(reading: Reading, rows: Sequence[Row], asked: PoolingRequest) -> list[Pooled]:
    pooled = reading.pooled(rows, activate=asked.use_activation is not False)
    return [Pooled(index, "pooling", encoded(row, asked)) for index, row in enumerate(pooled)]
