"""How clients ask and are answered: one class for each endpoint, in vLLM's and OpenAI's shapes.

An endpoint turns a request into a ``Plan``: the texts that must be computed, and how their rows become the answer.
Which endpoints a model has depends on its task; ``endpoints`` tells.
"""

from __future__ import annotations

import base64
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import msgspec
import numpy as np

from engines.onnx.errors import BadRequest
from engines.onnx.model.moderation import Categories
from engines.onnx.model.spans import spans
from engines.onnx.model.tasks import (
    Classify,
    ClassifyTokens,
    CrossEncode,
    Embed,
    EmbedTokens,
    Reading,
    Row,
    Rows,
    Task,
    cosines,
)
from engines.onnx.model.tokens import EachTokenIds, PromptTokenizer, TokenIds
from engines.onnx.protocol import (
    Classification,
    ClassifyRequest,
    Embedding,
    EmbedRequest,
    ListAnswer,
    ModerationAnswer,
    ModerationRequest,
    PairRequest,
    Pooled,
    PoolingRequest,
    Ranked,
    RerankAnswer,
    RerankDocument,
    RerankRequest,
    RerankUsage,
    Score,
    ScoreRequest,
    Side,
    TextRequest,
    Usage,
    check_lengths,
    moderated_texts,
    sides_of,
    texts_of,
)

Asked = TypeVar("Asked", bound=TextRequest)
MakeAnswer = Callable[[Sequence[Row], str], msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request needs: its texts, and from their rows and the name of the request the answer."""

    texts: Sequence[TokenIds]
    answer: MakeAnswer

    @property
    def tokens(self) -> int:
        """How many tokens all texts have."""
        return sum(map(len, self.texts))


class Endpoint(ABC, Generic[Asked]):
    """One endpoint of one model; ``id_prefix`` begins the ids of its answers."""

    request_type: ClassVar[type[Any]]
    id_prefix: ClassVar[str]

    def __init__(self, name: str, tokenizer: PromptTokenizer) -> None:
        self._name = name
        self._tokenizer = tokenizer

    @abstractmethod
    def plan(self, asked: Asked) -> Plan:
        """Say what a request needs. Raises ``BadRequest`` if the model cannot do it."""

    def _listed(self, name: str, data: Sequence[Any], texts: Sequence[TokenIds]) -> ListAnswer:
        tokens = sum(map(len, texts))
        return ListAnswer(
            id=f"{self.id_prefix}-{name}",
            created=int(time.time()),
            model=self._name,
            data=data,
            usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        )


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

        def answer(rows: Sequence[Row], name: str) -> ListAnswer:
            probabilities = self._task.pooled(rows, activate=asked.use_activation is not False)
            labels = self._task.labels
            data = [
                Classification(index, labels[int(row.argmax())], row.tolist(), len(row))
                for index, row in enumerate(probabilities)
            ]
            return self._listed(name, data, texts)

        return Plan(texts, answer)


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

        def answer(rows: Sequence[Row], name: str) -> ListAnswer:
            activate = asked.use_activation is not False
            vectors = self._task.pooled(rows, activate=activate, dimensions=asked.dimensions)
            data = [Embedding(index, _number_list(row, asked)) for index, row in enumerate(vectors)]
            return self._listed(name, data, texts)

        return Plan(texts, answer)


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
        placed = self._tokenizer.encode_places(asked)
        given = cast(list[str], texts_of(asked))

        def answer(rows: Sequence[Row], name: str) -> ListAnswer:
            items = _pooled(task, rows, asked)
            probabilities = task.pooled(rows, activate=True)
            for item, text, ids, each in zip(items, given, placed, probabilities, strict=True):
                item.spans = spans(text, ids, each, task.labels)
            return self._listed(name, items, placed)

        return Plan(placed, answer)

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
    return [Pooled(index, "pooling", _number_list(row, asked)) for index, row in enumerate(pooled)]


_MAX_VECTORS = 8192
"""Of so many tokens a request gets the vectors: with 384 dimensions about 60 MB of JSON and half a second of a core."""

_REMOVED = {"score": "`classify`", "encode": "`token_embed` or `token_classify`"}


class Scorer(ABC):
    """Gives pairs of texts their scores: the texts to compute, and from their rows a score for each right text."""

    @abstractmethod
    def plan(self, left: Side, right: Side, asked: PairRequest) -> tuple[Sequence[TokenIds], ToScores]:
        """Say what must be computed for the pairs. Raises ``BadRequest``."""


ToScores = Callable[[Sequence[Row]], list[float]]


class PairScorer(Scorer):
    """Scores of a cross-encoder, which reads both texts at once."""

    def __init__(self, tokenizer: PromptTokenizer, task: CrossEncode) -> None:
        self._tokenizer = tokenizer
        self._task = task

    def plan(self, left: Side, right: Side, asked: PairRequest) -> tuple[Sequence[TokenIds], ToScores]:
        """Compute each pair as one text."""
        activate = asked.use_activation is not False

        def scores(rows: Sequence[Row]) -> list[float]:
            return _floats(self._task.pooled(rows, activate=activate)[:, 0])

        return self._tokenizer.encode_pairs(left, right, asked), scores


class CosineScorer(Scorer):
    """Scores of an embedding model: the cosine of two vectors."""

    def __init__(self, tokenizer: PromptTokenizer, task: Embed) -> None:
        self._tokenizer = tokenizer
        self._task = task

    def plan(self, left: Side, right: Side, asked: PairRequest) -> tuple[Sequence[TokenIds], ToScores]:
        """Compute the texts of both sides, each once."""
        first = self._tokenizer.encode_side(left, asked, first=True)
        second = self._tokenizer.encode_side(right, asked, first=False)

        def scores(rows: Sequence[Row]) -> list[float]:
            vectors = self._task.pooled(rows, activate=False)
            return _floats(cosines(vectors[: len(first)], vectors[len(first) :]))

        return [*first, *second], scores


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

        def answer(rows: Sequence[Row], name: str) -> ListAnswer:
            return self._listed(name, [Score(*each) for each in enumerate(to_scores(rows))], texts)

        return Plan(texts, answer)


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

        def answer(rows: Sequence[Row], name: str) -> RerankAnswer:
            scores = to_scores(rows)
            order = sorted(range(len(scores)), key=lambda index: -scores[index])[: asked.top_n or None]
            results = [Ranked(index, RerankDocument(right.texts[index]), scores[index]) for index in order]
            tokens = sum(map(len, texts))
            return RerankAnswer(f"{self.id_prefix}-{name}", self._name, RerankUsage(tokens, tokens), results)

        return Plan(texts, answer)


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

        def answer(rows: Sequence[Row], name: str) -> ModerationAnswer:
            probabilities = self._task.pooled(rows, activate=True)
            results = [self._categories.judge(self._task, row) for row in probabilities]
            return ModerationAnswer(f"{self.id_prefix}-{name}", self._name, results)

        return Plan(texts, answer)


PATHS = (
    "/classify",
    "/v1/moderations",
    "/v1/embeddings",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/pooling",
)
"""All paths that some model may answer."""


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


_BYTE_ORDERS: Mapping[str, Literal["=", "<", ">"]] = {"native": "=", "little": "<", "big": ">"}


def _number_list(row: Row, asked: EmbedRequest) -> Any:
    """Encode numbers as asked: as a list, nested for each token, or as their bytes in base64."""
    if asked.encoding_format == "float":
        return row.tolist()
    binary = np.dtype(asked.embed_dtype).newbyteorder(_BYTE_ORDERS[asked.endianness])
    return base64.b64encode(row.astype(binary).tobytes()).decode("ascii")


def _floats(numbers: Rows) -> list[float]:
    found: list[float] = numbers.tolist()
    return found
