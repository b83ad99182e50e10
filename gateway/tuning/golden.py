"""Asks a model that is about to be published through the gateway, and compares what it says.

A classifier must answer what its training has written down. An adapter must not answer as its base does: an engine
takes one whose modules have other names, says that it was loaded, and leaves it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

Ask = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
"""Asks a path of the gateway with a JSON body; gives the status and the body of the response."""

FirstTokens = Mapping[str, float]
"""The likeliest tokens that begin an answer, with their log-probabilities."""

_TOLERANCE = 0.001
"""By how much a probability may differ where the training does not say it."""

_SAME = 0.01
"""Log-probabilities of a token that are as near to each other as this may be the same model's in another batch."""

_ALTERNATIVES = 5
"""How many of the likeliest first tokens are compared: where both are sure of one, its probability tells little."""


class Mistaken(Exception):
    """A model does not answer as it should; the message says how."""


class _Golden(msgspec.Struct):
    text: str
    answer: list[float]
    tolerance: float = _TOLERANCE


class _Class(msgspec.Struct):
    probs: list[float]


class _Classes(msgspec.Struct):
    data: list[_Class]


class _Token(msgspec.Struct):
    token: str
    logprob: float


class _Position(msgspec.Struct):
    top_logprobs: list[_Token]


class _Logprobs(msgspec.Struct):
    content: list[_Position]


class _Choice(msgspec.Struct):
    logprobs: _Logprobs


class _Completion(msgspec.Struct):
    choices: list[_Choice]


async def check_classifier(ask: Ask, name: str, golden: object) -> None:
    """Compare a classifier's answer with the one that its training has written down. Raises ``Mistaken``."""
    try:
        expected = msgspec.convert(golden, _Golden)
    except msgspec.ValidationError as error:
        raise Mistaken(f"The training has written down no valid answer to compare with: {error}.") from None
    answer = await _answer(ask, "/classify", {"model": name, "input": expected.text}, _Classes)
    found = answer.data[0].probs[: len(expected.answer)] if answer.data else []
    near = len(found) == len(expected.answer) and all(
        abs(one - other) <= expected.tolerance for one, other in zip(found, expected.answer, strict=True)
    )
    if not near:
        raise Mistaken(f"The model answers {expected.text[:100]!r} with {found}, not with {expected.answer}.")


async def check_adapter(
    ask: Ask, name: str, base: str, chat: Sequence[Mapping[str, Any]], plain: FirstTokens | None = None
) -> None:
    """See that an adapter changes the answer of its base to something that it was trained on. Raises ``Mistaken``.

    The base is asked at the same time, unless it has answered already: ``plain``.
    """
    if plain is None:
        own, others = await asyncio.gather(first_tokens(ask, name, chat), first_tokens(ask, base, chat))
    else:
        own, others = await first_tokens(ask, name, chat), plain
    if not _differ(own, others):
        raise Mistaken(
            f"The adapter changes nothing: asked what it was trained on, the model answers as {base!r} does, with the "
            "same probabilities. Its engine may have left it out."
        )


async def first_tokens(ask: Ask, model: str, chat: Sequence[Mapping[str, Any]]) -> FirstTokens:
    """Ask a model for the likeliest tokens that begin its answer, with their log-probabilities. Raises ``Mistaken``."""
    question = {"messages": chat, "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": _ALTERNATIVES}
    answer = await _answer(ask, "/v1/chat/completions", {"model": model, **question}, _Completion)
    positions = answer.choices[0].logprobs.content if answer.choices else []
    likeliest = positions[0].top_logprobs if positions else []
    if not likeliest:
        raise Mistaken(f"The model {model!r} answers with nothing.")
    return {each.token: each.logprob for each in likeliest}


def _differ(one: FirstTokens, other: FirstTokens) -> bool:
    """Whether two models have said what they said.

    A token that only one of them names may be as likely as the other's last: then it came next there.
    """
    least, other_least = min(one.values()), min(other.values())
    return any(abs(one.get(each, least) - other.get(each, other_least)) > _SAME for each in {*one, *other})


async def _answer(ask: Ask, path: str, question: Mapping[str, Any], kind: type[Any]) -> Any:
    status, body = await ask(path, msgspec.json.encode(question))
    if status != 200:
        raise Mistaken(
            f"The model {question['model']!r} answers with status {status}: {body[:500].decode(errors='replace')}"
        )
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Mistaken(f"The model {question['model']!r} answers with what is no answer of {path}: {error}.") from None
