"""Short passages that answers are taken from, and which of them are nearest to a question."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BANK_HELP = Path(__file__).parent.parent / "data" / "bank_help.jsonl"

Vectors = npt.NDArray[np.float32]

_LONGEST = 80
"""Words of a passage: the embedder reads 128 tokens, and an answer is chosen from few sentences."""

_INTENT_BONUS = 0.3
"""What a passage about the question's intent gains in similarity, at a probability of 1. Of validation questions 91 %
then get a right passage first, 68 % without it, and 92 % with 0.7, at which similarity hardly counts."""


class KnowledgeError(Exception):
    """A file is no knowledge base; the message names the file, the line, and what was expected."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A few sentences under a title; ``intents`` are those that it answers, where somebody has labelled it."""

    title: str
    text: str
    intents: tuple[str, ...] = ()

    @property
    def embedded(self) -> str:
        """The text that stands for the passage when it is searched."""
        return f"{self.title}. {self.text}"

    @property
    def sentences(self) -> list[str]:
        """The sentences of the text, in order."""
        return re.split(r"(?<=[.!?])\s+", self.text)


@dataclass(frozen=True, slots=True)
class Found:
    """A passage, and the cosine similarity of its vector to the question's."""

    passage: Passage
    similarity: float


class KnowledgeBase:
    """Passages with their vectors, shape (passages, width), each of length 1."""

    def __init__(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        self.passages = passages
        self._vectors = vectors
        self._about: dict[str, list[int]] = {}
        for number, passage in enumerate(passages):
            for intent in passage.intents:
                self._about.setdefault(intent, []).append(number)

    def __repr__(self) -> str:
        return f"<KnowledgeBase [{len(self.passages)} passages, {len(self._about)} intents]>"

    def nearest(self, vector: Vectors, intent: str, probability: float, count: int) -> list[Found]:
        """Return the best passages for a question's vector, the best first.

        Those that are labelled with its intent get a bonus, which is larger the more probable the intent is.
        """
        similarities = self._vectors @ vector
        scores = similarities.copy()
        scores[self._about.get(intent, [])] += _INTENT_BONUS * probability
        some = np.argpartition(-scores, min(count, len(scores)) - 1)[:count]
        best = some[np.argsort(-scores[some], kind="stable")]
        return [Found(self.passages[number], float(similarities[number])) for number in best]


def read_passages(file: Path) -> list[Passage]:
    """Read JSON lines with ``title``, ``text`` and maybe ``intents``. Raises ``KnowledgeError``.

    A long text becomes several passages with the same title, each of whole sentences.
    """
    try:
        # A text may hold other separators of lines than JSON lines have, such as U+2028.
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KnowledgeError(f"{file} cannot be read: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    passages = [piece for number, line in numbered for piece in _pieces(_passage(line, f"{file}:{number}"))]
    if not passages:
        raise KnowledgeError(f'{file} has no passages; expected a line {{"title": "…", "text": "…"}} for each')
    return passages


def _passage(line: str, where: str) -> Passage:
    try:
        fields: Any = json.loads(line)
    except ValueError as error:
        raise KnowledgeError(f"{where}: no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise KnowledgeError(f"{where}: expected an object with title and text")
    for name in ("title", "text"):
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise KnowledgeError(f"{where}: {name}: expected a text that is not empty")
    intents = fields.get("intents", [])
    if not isinstance(intents, list) or not all(isinstance(intent, str) for intent in intents):
        raise KnowledgeError(f"{where}: intents: expected a list of texts")
    return Passage(fields["title"].strip(), fields["text"].strip(), tuple(intents))


def _pieces(passage: Passage) -> Iterator[Passage]:
    """Cut a passage into pieces of at most eighty words, at the ends of sentences where those are not longer."""
    piece: list[str] = []
    for sentence in passage.sentences:
        words = sentence.split()
        if len(piece) + len(words) > _LONGEST and piece:
            yield Passage(passage.title, " ".join(piece), passage.intents)
            piece = []
        piece += words
        while len(piece) > _LONGEST:
            yield Passage(passage.title, " ".join(piece[:_LONGEST]), passage.intents)
            piece = piece[_LONGEST:]
    if piece:
        yield Passage(passage.title, " ".join(piece), passage.intents)
