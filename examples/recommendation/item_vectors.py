"""Vectors of texts, asked of the gateway in batches and kept in a file, so that each text is embedded once."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from openai import OpenAI

BATCH = 256
_PROGRESS_SECONDS = 2.0
_PROBE = "a text whose vector tells whether the model is still the same"
_CUT = {"truncate_prompt_tokens": -1}
"""Of a text that is longer than the model takes, embed the beginning."""


class VectorStore:
    """The vectors of one model, in one file that is replaced as a whole."""

    def __init__(self, folder: Path, client: OpenAI, model: str) -> None:
        self._file = folder / f"vectors-{quote(model, safe='')}.npz"
        self._client = client
        self._model = model

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return a vector of length 1 for each text, a row each; what is not in the file yet is embedded.

        Progress is told on standard error. An interruption loses nothing that was embedded before it.
        """
        probe = self._embed([_PROBE])[0]
        known = self._load(probe)
        missing = [text for text in dict.fromkeys(texts) if _key(text) not in known]
        try:
            for batch, vectors in self._batches(missing):
                known.update(zip(map(_key, batch), vectors, strict=True))
        finally:
            if missing:
                self._save(probe, known)
        return np.stack([known[_key(text)] for text in texts])

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        start = told = time.monotonic()
        for first in range(0, len(texts), BATCH):
            batch = texts[first : first + BATCH]
            yield batch, self._embed(batch)
            done, now = first + len(batch), time.monotonic()
            if now - told > _PROGRESS_SECONDS or (told > start and done == len(texts)):
                told = now
                left = (now - start) / done * (len(texts) - done)
                print(f"embedded {done:,} of {len(texts):,} texts, {left:.0f} s left", file=sys.stderr, flush=True)

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        answer = self._client.embeddings.create(model=self._model, input=list(texts), extra_body=_CUT)
        vectors = np.array([each.embedding for each in answer.data], dtype=np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def _load(self, probe: np.ndarray) -> dict[bytes, np.ndarray]:
        """Read what is kept, if the model of this name still gives the same vector for the same text."""
        if not self._file.exists():
            return {}
        with np.load(self._file, allow_pickle=False) as kept:
            if kept["probe"].shape != probe.shape or not np.allclose(kept["probe"], probe, atol=1e-3):
                print(f"{self._model} is another model than before: embedding everything anew", file=sys.stderr)
                return {}
            keys, vectors = kept["keys"], kept["vectors"]
        return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}

    def _save(self, probe: np.ndarray, known: dict[bytes, np.ndarray]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        keys = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(len(known), -1)
        vectors = np.stack(list(known.values())) if known else np.empty((0, len(probe)), dtype=np.float32)
        with tempfile.NamedTemporaryFile(dir=self._file.parent, suffix=".new", delete=False) as made:
            np.savez(made, probe=probe, keys=keys, vectors=vectors)
        Path(made.name).replace(self._file)


def default_folder() -> Path:
    """Return the folder for kept vectors: ``headgate/examples`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headgate" / "examples"


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
