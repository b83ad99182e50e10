"""The words of a text as its tokens show them, and the text's tokens with one of them left out.

What an answer loses when a word is left out is the word's weight: explanation by occlusion (Zeiler, Fergus:
"Visualizing and understanding convolutional networks", ECCV 2014; for words Li, Monroe, Jurafsky: "Understanding neural
networks through representation erasure", 2016). It needs the graph alone, not its gradients.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engines.onnx.model.tokens import PlacedIds, TokenIds

_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Characters of scripts that put no spaces between words (kana, ideographs): each is a word by itself."""


@dataclass(frozen=True, slots=True)
class Word:
    """Where a word, or a group of neighbours, stands: its characters of the text, and the numbers of its tokens."""

    start: int
    end: int
    tokens: tuple[int, ...]

    def joined(self, next_one: Word) -> Word:
        """Give the group of this and what follows it."""
        return Word(self.start, next_one.end, self.tokens + next_one.tokens)


def words(text: str, ids: PlacedIds) -> list[Word]:
    """Give the words of a text: tokens without white space between them, apart from ideographs.

    What has no token, because the tokenizer drops it or the text was cut, is no word: the model does not see it.
    """
    found: list[Word] = []
    for token, place in enumerate(ids.places):
        if place is None:
            continue
        piece = text[slice(*place)]
        if not piece.strip():
            continue
        start, end = place[0] + len(piece) - len(piece.lstrip()), place[1] - len(piece) + len(piece.rstrip())
        part = Word(start, end, (token,))
        if found and not _apart(text, found[-1].end, start):
            last = found.pop()
            part = Word(last.start, max(last.end, end), (*last.tokens, token))
        found.append(part)
    return found


def groups(found: Sequence[Word], most: int) -> list[Word]:
    """Join neighbours into at most so many groups, whose sizes differ by one word at most."""
    count = min(most, len(found))
    joined: list[Word] = []
    for number in range(count):
        first, *others = found[number * len(found) // count : (number + 1) * len(found) // count]
        for other in others:
            first = first.joined(other)
        joined.append(first)
    return joined


def without(ids: TokenIds, word: Word) -> list[int]:
    """Give a text's tokens with those of a word, or of a group, left out."""
    left_out = set(word.tokens)
    return [each for token, each in enumerate(ids) if token not in left_out]


def _apart(text: str, end: int, start: int) -> bool:
    """Tell whether what ends and what starts at these characters are two words; several tokens may be one character."""
    if start < end:
        return False
    if any(map(str.isspace, text[end:start])):
        return True
    return bool(_UNSPACED.match(text, start) or _UNSPACED.match(text, end - 1))
