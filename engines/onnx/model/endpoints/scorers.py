"""What a pair of texts scores: how a cross-encoder and an embedding model come to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from engines.onnx.model.tasks import CrossEncode, Embed, Row, Rows, cosines
from engines.onnx.model.tokens import PromptTokenizer, TokenIds
from engines.onnx.protocol.inputs import Side
from engines.onnx.protocol.requests import PairRequest

ToScores = Callable[[Sequence[Row]], list[float]]


class Scorer(ABC):
    """Gives pairs of texts their scores: the texts to compute, and from their rows a score for each right text."""

    @abstractmethod
    def plan(self, left: Side, right: Side, asked: PairRequest) -> tuple[Sequence[TokenIds], ToScores]:
        """Say what must be computed for the pairs. Raises ``BadRequest``."""


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


def _floats(numbers: Rows) -> list[float]:
    found: list[float] = numbers.tolist()
    return found
