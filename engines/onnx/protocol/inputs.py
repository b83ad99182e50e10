"""The texts that a request holds, in each of the ways to write them."""

from __future__ import annotations

from typing import cast

import msgspec

from engines.onnx.errors import BadRequest
from engines.onnx.protocol.requests import InputRequest, ModerationRequest, ScoreRequest, Texts


def texts_of(request: InputRequest) -> list[str] | list[list[int]]:
    """Give the inputs of a request as a list, all of them strings or all of them token ids.

    Raises ``BadRequest`` for an empty list and for a list that mixes strings, ids and lists of ids.
    """
    given = request.input
    if isinstance(given, str):
        return [given]
    if not given:
        raise BadRequest("You must pass at least one prompt", param="input")
    kind = type(given[0])
    for index, item in enumerate(given):
        if type(item) is not kind:
            raise BadRequest(
                f"Expected `{kind.__name__}` like the first input, got `{type(item).__name__}`", param=f"input[{index}]"
            )
    return [cast(list[int], given)] if kind is int else cast(list[str] | list[list[int]], given)


_SIDES = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


def sides_of(request: ScoreRequest) -> tuple[Side, Side]:
    """Give the two sides of a request to ``/score``, by the first pair of names that is there.

    Raises ``BadRequest`` if none is whole, or if their lengths are not 1:1, 1:N or N:N.
    """
    for names in _SIDES:
        sides = [Side.of(name, getattr(request, name)) for name in names if getattr(request, name) is not None]
        if len(sides) == len(names):
            left, right = sides
            check_lengths(left, right)
            return left, right
    pairs = ", ".join(" and ".join(f"`{name}`" for name in names) for names in _SIDES)
    raise BadRequest(f"Object missing required fields: one of {pairs}")


def check_lengths(left: Side, right: Side) -> None:
    """Raise ``BadRequest`` if two sides do not make pairs."""
    if len(left.texts) > 1 and len(left.texts) != len(right.texts):
        raise BadRequest("Input lengths must be either 1:1, 1:N or N:N", param=right.name)
    if not left.texts:
        raise BadRequest("At least one text element must be given", param=left.name)
    if not right.texts:
        raise BadRequest("At least one text_pair element must be given", param=right.name)


class Side(msgspec.Struct, frozen=True):
    """The texts on one side of pairs, and the field that they came in."""

    name: str
    texts: list[str]

    @classmethod
    def of(cls, name: str, given: Texts) -> Side:
        """Make one of a field's value."""
        texts = given if isinstance(given, list) else [given]
        return cls(name, [text if isinstance(text, str) else text.text for text in texts])

    def place(self, index: int) -> str:
        """Name one text as the client wrote it."""
        return self.name if len(self.texts) == 1 else f"{self.name}[{index}]"


def moderated_texts(request: ModerationRequest) -> list[str]:
    """Give the texts to moderate. Raises ``BadRequest`` for an empty list."""
    given = request.input
    if isinstance(given, str):
        return [given]
    if not given:
        raise BadRequest("You must pass at least one prompt", param="input")
    return [each if isinstance(each, str) else each.text for each in given]
