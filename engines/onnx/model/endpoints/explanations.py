"""What ``/classify`` computes besides when a class is to be explained: each text again, with a word left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engines.onnx.errors import BadRequest
from engines.onnx.model.occlusion import Word, groups, without, words
from engines.onnx.model.tasks import Rows
from engines.onnx.model.tokens import PlacedIds
from engines.onnx.protocol.requests import Explain
from engines.onnx.protocol.responses import Explanation, WordWeight

MAX_TOKENS = 65_536
"""All texts of a request together are explained by at most so many tokens: some seconds of one core."""


@dataclass(frozen=True, slots=True)
class Occluded:
    """A text, and the words or groups of words that are left out of it in turn."""

    text: str
    ids: PlacedIds
    left_out: Sequence[Word]

    @classmethod
    def of(cls, text: str, ids: PlacedIds, most: int) -> Occluded:
        """Choose what to leave out: each word, or of a longer text ``most`` groups of neighbours."""
        return cls(text, ids, groups(words(text, ids), most))

    @property
    def tokens(self) -> int:
        """How many tokens are computed: those of the text, and once more for each word without its own."""
        return len(self.ids) * (1 + len(self.left_out)) - sum(len(word.tokens) for word in self.left_out)

    def texts(self) -> Iterator[list[int]]:
        """Give the token ids of the text, and those without each word."""
        yield self.ids
        for word in self.left_out:
            yield without(self.ids, word)

    def explanation(self, values: Rows, wanted: int, label: str | None, top: int | None) -> Explanation:
        """Say what class ``wanted`` loses without each word; ``values`` are of ``texts()``, shape (texts, classes)."""
        losses = (values[0, wanted] - values[1:, wanted]).tolist()
        kept = set(sorted(range(len(losses)), key=lambda at: -abs(losses[at]))[:top])
        found = [
            WordWeight(self.text[word.start : word.end], word.start, word.end, losses[at])
            for at, word in enumerate(self.left_out)
            if at in kept
        ]
        return Explanation(label, found)


def check(occluded: Sequence[Occluded], asked: Explain) -> None:
    """Raise ``BadRequest`` where a text would be empty without its only word, or where all cost too much."""
    for index, each in enumerate(occluded):
        if any(len(word.tokens) == len(each.ids) for word in each.left_out):
            raise BadRequest(
                "The text is one word, and without it nothing is left that the model could read; its class cannot be "
                "explained.",
                param=f"input[{index}]" if len(occluded) > 1 else "input",
            )
    tokens = sum(each.tokens for each in occluded)
    if tokens > MAX_TOKENS:
        raise BadRequest(
            f"A request is explained by at most {MAX_TOKENS} tokens, and this one needs {tokens}: each text again "
            f"without each of its words. Send fewer texts, or an `explain.max_words` below {asked.max_words}.",
            param="explain.max_words",
        )


def class_of(label: str, labels: Sequence[str]) -> int:
    """Find the class that a request wants explained. Raises ``BadRequest``."""
    if label not in labels:
        raise BadRequest(
            f"This model has no label {label!r}; its labels are {', '.join(map(repr, labels))}.", param="explain.label"
        )
    return labels.index(label)


def split(values: Rows, occluded: Sequence[Occluded]) -> Iterator[Rows]:
    """Give each text the rows of its own."""
    at = 0
    for each in occluded:
        end = at + 1 + len(each.left_out)
        yield values[at:end]
        at = end
