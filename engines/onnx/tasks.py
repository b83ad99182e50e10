"""What the numbers of a graph mean: one class for each task.

A task says at which path it is asked, what a request may hold, which output of the graph it reads, what becomes of that
in the engine's threads (``rows``, one for each text), and how rows become an answer. To add one: write its class and
name it in ``TASKS``.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from engines.onnx.errors import BadRequest, ModelError
from engines.onnx.folder import ModelFolder
from engines.onnx.protocol import Classification, ClassifyRequest, Embedding, EmbedRequest, PoolingRequest
from engines.onnx.session import Array, Mask, Session

Rows = npt.NDArray[np.float32]
Asked = TypeVar("Asked", bound=PoolingRequest)


class Task(ABC, Generic[Asked]):
    """What all tasks have; see the module's own words."""

    path: ClassVar[str]
    request_type: ClassVar[type[Any]]
    id_prefix: ClassVar[str]
    output: str

    @abstractmethod
    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str]) -> None:
        """Check that the graph and the files beside it fit the task; raises ``ModelError``."""

    @abstractmethod
    def check_width(self, width: int) -> None:
        """Take the width of a row, known after the first run; raises ``ModelError`` if it cannot be right."""

    @abstractmethod
    def check(self, request: Asked, model: str) -> None:
        """Refuse with ``BadRequest`` what this model cannot do, before any work is done."""

    @abstractmethod
    def rows(self, output: Array, mask: Mask) -> Rows:
        """Give a float32 row for each text from the output, shape (texts, …), and the mask, shape (texts, tokens)."""

    @abstractmethod
    def data(self, request: Asked, rows: Rows) -> list[msgspec.Raw]:
        """Encode the object of each text for the answer's ``data``."""


class Classify(Task[ClassifyRequest]):
    """Classification of whole texts: ``/classify``."""

    path = "/classify"
    request_type = ClassifyRequest
    id_prefix = "classify"

    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str]) -> None:
        self._folder = folder
        self.output = _choose(folder, session, axes=2, names=("logits",))
        config = folder.config
        self._labels = list(labels) or [config.id2label[index] for index in sorted(config.id2label)]
        self._problem = config.problem_type
        self._activation: Callable[[Rows], Rows] = _softmax

    def __repr__(self) -> str:
        return f"<Classify {', '.join(self._labels)}>"

    def check_width(self, width: int) -> None:
        """Compare the labels with the classes; without any they get transformers' names."""
        self._labels = self._labels or [f"LABEL_{index}" for index in range(width)]
        if len(self._labels) != width:
            raise ModelError(
                self._folder.graph, f"the graph has {width} classes, but {len(self._labels)} labels are given: {self!r}"
            )
        known = {None: _sigmoid if width == 1 else _softmax, **_ACTIVATIONS}
        if self._problem not in known:
            raise ModelError(self._folder.path / "config.json", f"unknown problem_type {self._problem!r}")
        self._activation = known[self._problem]

    def check(self, request: ClassifyRequest, model: str) -> None:
        """Allow everything: a classifier has no options that a graph could lack."""

    def rows(self, output: Array, _mask: Mask) -> Rows:
        """Take the logits as they are."""
        return output.astype(np.float32, copy=False)

    def data(self, request: ClassifyRequest, rows: Rows) -> list[msgspec.Raw]:
        """Give each text its classes."""
        if request.use_activation is not False:
            rows = self._activation(rows)
        return [
            _encode(Classification(index, self._labels[int(row.argmax())], row.tolist(), len(row)))
            for index, row in enumerate(rows)
        ]


class Embed(Task[EmbedRequest]):
    """Embeddings of whole texts: ``/v1/embeddings``."""

    path = "/v1/embeddings"
    request_type = EmbedRequest
    id_prefix = "embd"

    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str]) -> None:
        if labels:
            raise ModelError(folder.path, "an embedding model has no labels")
        pooled = _find(session, axes=2, names=("sentence_embedding",))
        self.output = pooled or _choose(folder, session, axes=3, names=("last_hidden_state", "token_embeddings"))
        modes = folder.pooling.modes
        if pooled is None and (len(modes) != 1 or modes[0] not in _POOLINGS):
            raise ModelError(
                folder.path / "1_Pooling/config.json", f"pooling by {modes} is not one of {list(_POOLINGS)}"
            )
        self._pool = None if pooled else _POOLINGS[modes[0]]
        self._normalizes = folder.normalizes
        config = folder.config
        self._matryoshka = config.is_matryoshka or config.matryoshka_dimensions is not None
        self._dimensions = config.matryoshka_dimensions
        self._width = 0

    def __repr__(self) -> str:
        return f"<Embed {self._width} dimensions>"

    def check_width(self, width: int) -> None:
        """Remember how many dimensions there are."""
        self._width = width

    def check(self, request: EmbedRequest, model: str) -> None:
        """Refuse ``dimensions`` unless the model was trained for vectors to be cut (Matryoshka)."""
        wanted = request.dimensions
        if wanted is None:
            return
        if not self._matryoshka:
            raise BadRequest(
                f"Model {model!r} does not support Matryoshka embeddings; dimensions must be unset "
                f"(received dimensions={wanted}).",
                param="dimensions",
            )
        if not 1 <= wanted <= self._width:
            raise BadRequest(
                f"Model {model!r} only supports dimensions in range [1, {self._width}], got {wanted}.",
                param="dimensions",
            )
        if self._dimensions and wanted not in self._dimensions:
            raise BadRequest(
                f"Model {model!r} only supports Matryoshka dimensions {self._dimensions}, got {wanted}.",
                param="dimensions",
            )

    def rows(self, output: Array, mask: Mask) -> Rows:
        """Make one vector of each text's token vectors, unless the graph has done so."""
        vectors = output.astype(np.float32, copy=False)
        return vectors if self._pool is None else self._pool(vectors, mask)

    def data(self, request: EmbedRequest, rows: Rows) -> list[msgspec.Raw]:
        """Cut and scale the vectors, and encode them as asked."""
        rows = rows[:, : request.dimensions]
        if self._normalizes and request.use_activation is not False:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        if request.encoding_format == "float":
            return [_encode(Embedding(index, row.tolist())) for index, row in enumerate(rows)]
        binary = np.dtype(request.embed_dtype).newbyteorder(_BYTE_ORDERS[request.endianness])
        return [
            _encode(Embedding(index, base64.b64encode(row.astype(binary).tobytes()).decode("ascii")))
            for index, row in enumerate(rows)
        ]


_BYTE_ORDERS: Mapping[str, Literal["=", "<", ">"]] = {"native": "=", "little": "<", "big": ">"}

TASKS: Mapping[str, type[Task[Any]]] = {"classify": Classify, "embed": Embed}


def _find(session: Session, *, axes: int, names: Sequence[str]) -> str | None:
    """Find the first of the names that is an output with so many axes."""
    return next((name for name in names if session.outputs.get(name) == axes), None)


def _choose(folder: ModelFolder, session: Session, *, axes: int, names: Sequence[str]) -> str:
    """Find an output by name, or else the only one with so many axes."""
    named = _find(session, axes=axes, names=names)
    fitting = [name for name, count in session.outputs.items() if count == axes]
    if named is None and len(fitting) != 1:
        raise ModelError(
            folder.graph,
            f"none of the outputs {list(session.outputs)} is named {' or '.join(names)}, "
            f"and {len(fitting)} of them have {axes} axes",
        )
    return named or fitting[0]


def _encode(item: Classification | Embedding) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(item))


def _softmax(logits: Rows) -> Rows:
    powers: Rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Rows = powers.sum(axis=1, keepdims=True)
    return np.divide(powers, total, dtype=np.float32)


def _sigmoid(logits: Rows) -> Rows:
    # The half tangent is the same function and cannot overflow.
    half: Rows = np.multiply(np.tanh(logits / 2) + 1, 0.5, dtype=np.float32)
    return half


def _identity(logits: Rows) -> Rows:
    return logits


_ACTIVATIONS: Mapping[str | None, Callable[[Rows], Rows]] = {
    "single_label_classification": _softmax,
    "multi_label_classification": _sigmoid,
    "regression": _identity,
}


def _mean(vectors: Rows, mask: Mask) -> Rows:
    weights = mask.astype(np.float32)
    sums: Rows = np.einsum("btd,bt->bd", vectors, weights)
    means: Rows = np.divide(sums, weights.sum(axis=1, keepdims=True), dtype=np.float32)
    return means


def _first(vectors: Rows, _mask: Mask) -> Rows:
    first: Rows = vectors[:, 0]
    return first


def _last(vectors: Rows, mask: Mask) -> Rows:
    last: Rows = vectors[np.arange(len(vectors)), mask.sum(axis=1) - 1]
    return last


_POOLINGS: Mapping[str, Callable[[Rows, Mask], Rows]] = {"mean_tokens": _mean, "cls_token": _first, "lasttoken": _last}
