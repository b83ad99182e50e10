"""A tokenizer that needs no model: four bytes of UTF-8 are a token, and responses consist of numbered words."""

from __future__ import annotations

import re

BYTES = 4
"""Of UTF-8 in one token."""


_RUN = re.compile(r"(?: t\d+x*)+\Z")
"""The words of a response at the end of a text."""


def count(text: str | bytes) -> int:
    """Return how many tokens a text has."""
    return -(-len(text.encode() if isinstance(text, str) else text) // BYTES)


def encode(text: str) -> list[int]:
    """Return a text's token ids; ``decode`` gives the text back."""
    data = text.encode()
    return [int.from_bytes(b"\x01" + data[at : at + BYTES]) for at in range(0, len(data), BYTES)]


def decode(ids: list[int]) -> str:
    """Return the text of token ids; what ``encode`` cannot have made becomes the replacement character."""
    return b"".join(each.to_bytes(16).lstrip(b"\x00")[1:] for each in ids).decode(errors="replace")


def piece(index: int, size: int = 0) -> str:
    """Return the text of the token at ``index`` of every response (`` t0``, `` t1``, …), at least ``size`` bytes long.

    It is plain ASCII without quotes and backslashes, so it can be put into JSON as it is.
    """
    return f" t{index}".ljust(size, "x")


def text(length: int, size: int = 0, first: int = 0) -> str:
    """Return the whole text of a response of ``length`` tokens, or its rest from the ``first`` one on."""
    return "".join(piece(index, size) for index in range(first, first + length))


def begun(text: str) -> tuple[int, int]:
    """Return how many tokens of a response stand at the end of a text, and in how many bytes; they are numbered words.

    A response that was begun goes on with the next number, as that of a model without chance would.
    """
    found = _RUN.search(text)
    return (found[0].count(" "), len(found[0])) if found is not None else (0, 0)
