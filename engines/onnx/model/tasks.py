"""What the numbers of a graph mean: one class for each task.

A task says which output of the graph it reads, what becomes of that in the engine's threads (``rows``, one for each
text), and what it takes the rows for. How clients ask and are answered is the matter of ``endpoints``. To add a task:
write its class, name it in ``TASKS``, and list its endpoints there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engines.onnx.errors import BadRequest, InferenceFailed, ModelError
from engines.onnx.model.activations import activation_of, probabilities
from engines.onnx.model.folder import ModelFolder
from engines.onnx.model.session import Array, Mask, Session
from engines.onnx.model.tokens import EachTokenIds, TokenIds

Row = npt.NDArray[np.float32]
"""What a graph says about one text: shape (classes), (dimensions), or for each token (tokens, either of them)."""

Rows = npt.NDArray[np.float32]
"""Rows of one shape, stacked."""

EachRow = Rows | list[Row]
"""A row for each text, stacked where they have one shape."""

_TINY = np.finfo(np.float32).tiny


class Reading(ABC):
    """One way to read a graph: from which output, and as what.

    ``pooling`` is vLLM's name for what ``/pooling`` then gives.
    """

    pooling: str
    output: str

    @abstractmethod
    def rows(self, output: Array, mask: Mask) -> EachRow:
        """Give a float32 row for each text from the output, shape (texts, …), and the mask, shape (texts, tokens)."""

    @abstractmethod
    def pooled(self, rows: Sequence[Row], *, activate: bool) -> EachRow:
        """Give what ``/pooling`` responds for each row: probabilities or vectors, raw unless ``activate``."""

    def compute(self, session: Session, texts: Sequence[TokenIds]) -> EachRow:
        """Run texts as one batch and give a row for each; raises ``InferenceFailed``, also for what is no number."""
        rows = self.rows(*session.run(self.output, texts))
        if not all(np.isfinite(each).all() for each in ([rows] if isinstance(rows, np.ndarray) else rows)):
            raise InferenceFailed("The graph gave infinities, or what is no number (NaN)")
        return rows


class Task(Reading):
    """What a model is for: the way to read it, found from its files."""

    @abstractmethod
    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str], output: str | None = None) -> None:
        """Check that the graph and the files beside it fit the task; raises ``ModelError``.

        ``output`` names the output to read, for graphs with several; without it the task looks for a usual name.
        """

    @abstractmethod
    def check_width(self, width: int) -> None:
        """Take the width of a row, known after the first run; raises ``ModelError`` if it cannot be right."""


class Classify(Task):
    """Classes of whole texts."""

    pooling = "classify"

    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str], output: str | None = None) -> None:
        self._folder = folder
        self.output = _choose(folder, session, axes=2, names=("logits",), wanted=output)
        config = folder.config
        self.labels = list(labels) or folder.labels
        self._activation = activation_of(folder, config)

    def __repr__(self) -> str:
        return f"<Classify {', '.join(self.labels)}>"

    @property
    def exclusive(self) -> bool:
        """Whether the classes' probabilities add up to 1, so that only one of them holds."""
        return self._activation is probabilities and len(self.labels) > 1

    def check_width(self, width: int) -> None:
        """Compare the labels with the classes; without any they get transformers' names."""
        self.labels = _named(self._folder, self.labels, width)

    def rows(self, output: Array, _mask: Mask) -> Rows:
        """Take the logits as they are."""
        return output.astype(np.float32, copy=False)

    def pooled(self, rows: Sequence[Row], *, activate: bool) -> Rows:
        """Give the probabilities of all classes."""
        logits = np.stack(rows)
        return self._activation(logits) if activate else logits


class CrossEncode(Task):
    """How much two texts have to do with each other, as one number of a graph that reads both.

    As a class of its own the number has one of ``labels``, in transformers' words if ``config.json`` has none.
    """

    pooling = "classify"

    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str], output: str | None = None) -> None:
        if labels:
            raise ModelError(folder.path, "a cross-encoder has no labels")
        self._folder = folder
        self.output = _choose(folder, session, axes=2, names=("logits",), wanted=output)
        config = folder.config
        self.labels = [config.id2label.get(0, "LABEL_0")]
        self._activation = activation_of(folder, config)

    def __repr__(self) -> str:
        return "<CrossEncode>"

    def check_width(self, width: int) -> None:
        """Refuse all but one number: of several, nothing says which is the score."""
        if width != 1:
            raise ModelError(self._folder.graph, f"a cross-encoder gives one number, this graph gives {width}")

    def rows(self, output: Array, _mask: Mask) -> Rows:
        """Take the logits as they are."""
        return output.astype(np.float32, copy=False)

    def pooled(self, rows: Sequence[Row], *, activate: bool) -> Rows:
        """Give the scores, shape (pairs, 1)."""
        logits = np.stack(rows)
        return self._activation(logits) if activate else logits


class ClassifyTokens(Task):
    """A class for each token of a text."""

    pooling = "token_classify"

    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str], output: str | None = None) -> None:
        self._folder = folder
        self.output = _choose(folder, session, axes=3, names=("logits",), wanted=output)
        self.labels = list(labels) or folder.labels

    def __repr__(self) -> str:
        return f"<ClassifyTokens {', '.join(self.labels)}>"

    def check_width(self, width: int) -> None:
        """Compare the labels with the classes; without any they get transformers' names."""
        self.labels = _named(self._folder, self.labels, width)

    def rows(self, output: Array, mask: Mask) -> list[Row]:
        """Give each text the logits of its own tokens."""
        return _own_tokens(output, mask)

    def pooled(self, rows: Sequence[Row], *, activate: bool) -> list[Row]:
        """Give the probabilities of all classes for each token."""
        return [probabilities(row) for row in rows] if activate else list(rows)


class EmbedTokens(Reading):
    """A vector for each token of a text, as it is before a text's vector is made of them."""

    pooling = "token_embed"

    def __init__(self, output: str) -> None:
        self.output = output

    def __repr__(self) -> str:
        return f"<EmbedTokens {self.output}>"

    def rows(self, output: Array, mask: Mask) -> list[Row]:
        """Give each text the vectors of its own tokens, special ones included."""
        return _own_tokens(output, mask)

    def pooled(self, rows: Sequence[Row], *, activate: bool) -> list[Row]:
        """Scale each vector to length 1, as vLLM does even where those of whole texts stay as they are."""
        return [_scaled(row) for row in rows] if activate else list(rows)


class Embed(Task):
    """Vectors of whole texts; ``each_token`` reads those of their tokens, if the graph gives them."""

    pooling = "embed"

    def __init__(self, folder: ModelFolder, session: Session, labels: Sequence[str], output: str | None = None) -> None:
        if labels:
            raise ModelError(folder.path, "an embedding model has no labels")
        whole = _find(session, axes=2, names=("sentence_embedding",) if output is None else (output,))
        names = ("last_hidden_state", "token_embeddings")
        self.output = whole or _choose(folder, session, axes=3, names=names, wanted=output)
        states = _find(session, axes=3, names=names) if whole else self.output
        self.each_token = None if states is None else EmbedTokens(states)
        modes = folder.pooling.modes
        if whole is None and (len(modes) != 1 or modes[0] not in _POOLINGS):
            raise ModelError(
                folder.path / "1_Pooling/config.json", f"pooling by {modes} is not one of {list(_POOLINGS)}"
            )
        self._pool = None if whole else _POOLINGS[modes[0]]
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

    def check_dimensions(self, wanted: int | None, model: str) -> None:
        """Refuse ``dimensions`` unless the model was trained for vectors to be cut (Matryoshka)."""
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

    def compute(self, session: Session, texts: Sequence[TokenIds]) -> EachRow:
        """Give a text its vector, or of ``EachTokenIds`` those of its tokens; the two kinds run one after the other."""
        apart = [text for text in texts if isinstance(text, EachTokenIds)]
        if not apart:
            return super().compute(session, texts)
        assert self.each_token is not None
        of_tokens = iter(self.each_token.compute(session, apart))
        whole = [text for text in texts if not isinstance(text, EachTokenIds)]
        of_texts = iter(super().compute(session, whole) if whole else ())
        return [next(of_tokens if isinstance(text, EachTokenIds) else of_texts) for text in texts]

    def pooled(self, rows: Sequence[Row], *, activate: bool, dimensions: int | None = None) -> Rows:
        """Cut the vectors, and scale them to length 1 if the model does so."""
        vectors = np.stack(rows)[:, :dimensions]
        return _scaled(vectors) if self._normalizes and activate else vectors


TASKS: Mapping[str, type[Task]] = {
    "classify": Classify,
    "embed": Embed,
    "score": CrossEncode,
    "token_classify": ClassifyTokens,
}


def cosines(left: Rows, right: Rows) -> Rows:
    """Give the cosine of each left vector, or of the only one, and the right one beside it."""
    products: Rows = np.einsum("bd,bd->b", *np.broadcast_arrays(_scaled(left), _scaled(right)))
    return products


def _own_tokens(output: Array, mask: Mask) -> list[Row]:
    """Give each text the rows of its tokens without padding, copied, so that they do not hold the batch in memory."""
    return [rows[:length].astype(np.float32) for rows, length in zip(output, mask.sum(axis=1), strict=True)]


def _scaled(vectors: Rows) -> Rows:
    """Scale vectors to length 1; one of zeros stays as it is."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    scaled: Rows = vectors / np.maximum(lengths, _TINY)[:, np.newaxis]
    return scaled


def _named(folder: ModelFolder, labels: list[str], width: int) -> list[str]:
    """Give the names of all classes; raises ``ModelError`` if there are more or fewer names."""
    labels = labels or [f"LABEL_{index}" for index in range(width)]
    if len(labels) != width:
        raise ModelError(
            folder.graph,
            f"the graph has {width} classes, but {len(labels)} labels are given: {', '.join(labels)}",
        )
    return labels


def _find(session: Session, *, axes: int, names: Sequence[str]) -> str | None:
    """Find the first of the names that is an output with so many axes."""
    return next((name for name in names if session.outputs.get(name) == axes), None)


def _choose(folder: ModelFolder, session: Session, *, axes: int, names: Sequence[str], wanted: str | None) -> str:
    """Take the wanted output; without one find it by a usual name, or else take the only one with so many axes."""
    if wanted is not None:
        if wanted not in session.outputs:
            raise ModelError(folder.graph, f"there is no output {wanted!r}; there are {list(session.outputs)}")
        if session.outputs[wanted] != axes:
            raise ModelError(folder.graph, f"output {wanted!r} has {session.outputs[wanted]} axes, not {axes}")
        return wanted
    named = _find(session, axes=axes, names=names)
    fitting = [name for name, count in session.outputs.items() if count == axes]
    if named is None and len(fitting) != 1:
        raise ModelError(
            folder.graph,
            f"none of the outputs {list(session.outputs)} is named {' or '.join(names)}, "
            f"and {len(fitting)} of them have {axes} axes; say which one with `output`",
        )
    return named or fitting[0]


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
