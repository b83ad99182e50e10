"""Texts as vectors, from the gateway's embedder; what was embedded once is kept in a file."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from openai import OpenAI

from examples.progress import with_progress

Vectors = npt.NDArray[np.float32]

_AT_ONCE = 64
"""Texts in a request."""

_LONGEST = 2000
"""Characters of a text that are sent; the embedder reads 128 tokens."""


_SAMPLE = "The vector of this text tells whether a model of the same name is still the same."


def cache_folder(application: str) -> Path:
    """Return where an application may keep what can be made anew, in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headgate" / application


class Embedder:
    """Embeds texts with a model of the gateway. ``file`` keeps vectors by the digests of model and text."""

    def __init__(self, client: OpenAI, model: str, file: Path) -> None:
        self._client = client
        self._model = model
        self._file = file
        self._known = _read(file)
        self._sample = b""

    def __repr__(self) -> str:
        return f"<Embedder {self._model} [{len(self._known)} vectors in {self._file}]>"

    def embed(self, texts: Sequence[str], *, keep: bool = True) -> Vectors:
        """Return a vector of length 1 for each text, shape (texts, width). Raises ``openai.OpenAIError``.

        With ``keep`` only those are asked for that the file does not have, and those that came before an error or an
        interruption are kept too, so that the next call goes on there.
        """
        if not self._sample:
            self._sample = self._ask([_SAMPLE])[0].round(2).tobytes()
        digests = [hashlib.sha256(self._sample + text.encode()).digest() for text in texts]
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._known}
        asked = list(missing.items())
        batches = [asked[start : start + _AT_ONCE] for start in range(0, len(asked), _AT_ONCE)]
        found: dict[bytes, Vectors] = {}
        try:
            for batch in with_progress(batches, f"embedding {len(asked):,} texts"):
                vectors = self._ask([text for _, text in batch])
                found.update(zip((digest for digest, _ in batch), vectors, strict=True))
        finally:
            if keep and found:
                self._known |= found
                _write(self._file, self._known)
        rows = self._known | found
        return np.stack([rows[digest] for digest in digests])

    def _ask(self, texts: Sequence[str]) -> Vectors:
        answer = self._client.embeddings.create(
            model=self._model,
            input=[text[:_LONGEST] for text in texts],
            extra_body={"truncate_prompt_tokens": -1},  # A longer text is read as far as the model can.
        )
        vectors = np.array([each.embedding for each in answer.data], np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _read(file: Path) -> dict[bytes, Vectors]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            rows = zip(kept["digests"], kept["vectors"], strict=True)
            return {digest.tobytes(): vector for digest, vector in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"{file} cannot be read ({error}); its vectors are made anew")
        return {}


def _write(file: Path, rows: dict[bytes, Vectors]) -> None:
    """Write under another name first, so that the file is never half written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    digests = np.array([np.frombuffer(digest, np.uint8) for digest in rows])
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        draft = Path(folder) / "vectors.npz"
        np.savez(draft, digests=digests, vectors=np.stack(list(rows.values())))
        draft.replace(file)
