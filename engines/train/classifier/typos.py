"""Writes texts as people type them: with letters swapped, left out, doubled, or taken from the neighbouring key."""

from __future__ import annotations

import random

_NEIGHBOURS = {
    letter: row[max(0, at - 1) : at] + row[at + 1 : at + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for at, letter in enumerate(row)
}
_SHORTEST_WORD = 4


def with_typos(text: str, seed: int, share: float = 0.25) -> str:
    """Put one typo into about ``share`` of the words of four letters or more; their first letters stay."""
    chance = random.Random(f"{seed} {text}")  # noqa: S311 - nothing is secret
    words = text.split(" ")
    return " ".join(
        _mistyped(word, chance) if len(word) >= _SHORTEST_WORD and chance.random() < share else word for word in words
    )


def _mistyped(word: str, chance: random.Random) -> str:
    at = chance.randrange(1, len(word) - 1)
    letter, following = word[at], word[at + 1]
    kind = chance.randrange(4)
    if kind == 0:
        return word[:at] + following + letter + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + letter + word[at:]
    return word[:at] + chance.choice(_NEIGHBOURS.get(letter.lower(), letter)) + word[at + 1 :]
