"""What is measured: a model, the texts that it gets, and how it is served."""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from engines.onnx.model.model import Model
from engines.onnx.model.tasks import Classify
from engines.onnx.model.tokens import TokenIds
from engines.onnx.protocol.requests import InputRequest
from loadtest.workload import Request

MODEL = "model"
"""The name by which every server knows it."""

PATHS: Mapping[str, str] = {"embed": "/v1/embeddings", "classify": "/classify"}
"""The endpoint of each task."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model in this process, its task and texts, and the options of the command line."""

    model: Model
    task: str
    texts: list[str]
    options: argparse.Namespace

    @property
    def labels(self) -> list[str]:
        """The names of a classifier's classes."""
        assert isinstance(self.model.task, Classify)
        return self.model.task.labels

    @property
    def tokens(self) -> list[TokenIds]:
        """The texts as the engine sees them."""
        return self.encode(self.texts)

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the token ids of texts, cut where the model's longest input ends."""
        return self.model.tokenizer.encode(InputRequest(input=list(texts), truncate_prompt_tokens=-1))

    def request(self, texts: Sequence[str]) -> Request:
        """Make a request of some texts."""
        fields = {"model": MODEL, "input": texts[0] if len(texts) == 1 else texts, "truncate_prompt_tokens": -1}
        return Request(PATHS[self.task], msgspec.json.encode(fields))

    def requests(self, size: int = 1, *, count: int = 2000) -> list[Request]:
        """Make requests of ``size`` texts each, ``count`` texts in all."""
        draw = random.Random(1)  # noqa: S311 - a reproducible load, nothing secret
        return [self.request(draw.choices(self.texts, k=size)) for _ in range(count // size)]
