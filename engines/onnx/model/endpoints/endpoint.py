"""What all endpoints have in common.

An endpoint turns a request into a ``Plan``: the texts that must be computed, and how their rows become the response.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from engines.onnx.model.tasks import Row
from engines.onnx.model.tokens import PromptTokenizer, TokenIds
from engines.onnx.protocol.requests import TextRequest
from engines.onnx.protocol.responses import ListResponse, Usage

Asked = TypeVar("Asked", bound=TextRequest)
MakeResponse = Callable[[Sequence[Row], str], msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request needs: its texts, and from their rows and the name of the request the response."""

    texts: Sequence[TokenIds]
    respond: MakeResponse

    @property
    def tokens(self) -> int:
        """How many tokens all texts have."""
        return sum(map(len, self.texts))


class Endpoint(ABC, Generic[Asked]):
    """One endpoint of one model; ``id_prefix`` begins the ids of its responses."""

    request_type: ClassVar[type[Any]]
    id_prefix: ClassVar[str]

    def __init__(self, name: str, tokenizer: PromptTokenizer) -> None:
        self._name = name
        self._tokenizer = tokenizer

    @abstractmethod
    def plan(self, asked: Asked) -> Plan:
        """Say what a request needs. Raises ``BadRequest`` if the model cannot do it."""

    def _listed(self, name: str, data: Sequence[Any], texts: Sequence[TokenIds]) -> ListResponse:
        tokens = sum(map(len, texts))
        return ListResponse(
            id=f"{self.id_prefix}-{name}",
            created=int(time.time()),
            model=self._name,
            data=data,
            usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        )
