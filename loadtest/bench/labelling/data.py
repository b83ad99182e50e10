"""Reads labelled texts and embeds them, once for each file and model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from engines.onnx.model.model import Model
from engines.onnx.protocol.requests import InputRequest
from engines.onnx.quantize.texts import DataError, read
from loadtest.bench.labelling.logistic import Numbers
from loadtest.bench.labelling.simulate import Texts

_BATCH = 32


def texts_of(file: Path, model: Model, most: int, cache: Path | None, without: str | None = None) -> Texts:
    """Give the vectors and classes of a file's texts; those without a label, or of ``without``, are left out.

    With a ``cache`` folder the vectors are kept there, by the digest of model, file and number. Raises ``DataError``.
    """
    labelled = [(text.text, text.label) for text in read(file, most) if text.label is not None]
    if not labelled:
        raise DataError(f"{file}: no text has a label")
    names = sorted({label for _, label in labelled})
    classes = np.array([names.index(label) for _, label in labelled], np.int64)
    kept = None if cache is None else cache / f"{_digest(model, file, most)}.npy"
    if kept is not None and kept.exists():
        vectors = np.load(kept)
    else:
        vectors = embedded(model, [text for text, _ in labelled])
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, vectors)
    texts = Texts(vectors, classes)
    return texts.without(names.index(without)) if without in names else texts


def embedded(model: Model, texts: list[str]) -> Numbers:
    """Give the vectors of texts, in their order; batches are of like length, as the engine makes them."""
    ids = model.tokenizer.encode(InputRequest(input=[*texts], truncate_prompt_tokens=-1))
    order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
    rows = [
        row for at in range(0, len(order), _BATCH) for row in model.compute([ids[i] for i in order[at : at + _BATCH]])
    ]
    vectors = np.stack(list(model.task.pooled(rows, activate=True)))
    result = np.empty_like(vectors)
    result[order] = vectors
    return result


def _digest(model: Model, file: Path, most: int) -> str:
    found = hashlib.sha256(str(most).encode())
    for each in (model.file, file):
        found.update(each.read_bytes())
    return found.hexdigest()[:24]
