"""A guard model looks at what a client says before an engine is asked: a guardrail on the input.

The guard is one of the gateway's own models, a classifier. It is asked like any model: it has its queue, its metrics
and its deadlines, and a client that leaves stops it. A guard that cannot answer lets nothing pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import msgspec

from gateway.api.internal_head import internal_head
from gateway.config.guard import GuardTable
from gateway.core.context import INTERNAL, RequestContext
from gateway.core.errors import BadRequest, ContentBlocked, GuardFailed
from gateway.exchange.internal_call import InternalCall
from gateway.http.application import Application

_PATH = "/classify"

_SAID_IN = ("messages", "input", "prompt", "suffix")
"""The fields in which the generating endpoints take what a client says."""


class _Verdict(msgspec.Struct):
    """A classifier's response for one text, in vLLM's shape."""

    label: str
    probs: list[float]


class _Verdicts(msgspec.Struct):
    data: list[_Verdict]


_VERDICTS = msgspec.json.Decoder(_Verdicts)


async def check(application: Application, guard: GuardTable, context: RequestContext, texts: Sequence[str]) -> None:
    """Have the guard classify ``texts``. Raises ``ContentBlocked`` for one that it blocks, ``GuardFailed`` without it.

    A text is blocked if its label is one of those to block, with a probability of the threshold or more.
    """
    if not texts:
        return
    body = msgspec.json.encode({"model": guard.model, "input": list(texts)})
    call = RequestContext(
        internal_head(INTERNAL, _PATH, trace=context.trace), f"{context.request_id}-guard", body, perf_counter()
    )
    response = await InternalCall(application).ask(call)
    if response.status != 200:
        error = call.error
        raise GuardFailed(
            f"The request was not looked at by its guard {guard.model!r}: "
            + (error.message if error is not None else f"it answered {response.status}."),
            retry_after=error.retry_after if error is not None else None,
        )
    try:
        verdicts = _VERDICTS.decode(response.body).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        verdicts = []
    if len(verdicts) != len(texts):
        raise GuardFailed(f"The guard {guard.model!r} did not answer with a classification of each text.")
    for verdict in verdicts:
        if verdict.label in guard.block and max(verdict.probs, default=0.0) >= guard.threshold:
            raise ContentBlocked(f"The guard {guard.model!r} found {verdict.label!r} in what was asked.")


def said(body: bytes) -> list[str]:
    """Give the texts that a body adds to a conversation: those behind the model's last turn, or the whole prompt.

    Raises ``BadRequest`` for token ids, in which a guard would see nothing.
    """
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if not isinstance(fields, dict):
        return []
    # All of them: a field that the endpoint ignores must not hide the one that it reads.
    given = [_latest(fields.get(name)) for name in _SAID_IN]
    return [text for text in _texts(given) if text.strip()]


def _latest(given: Any) -> Any:
    """Leave out what stands before the model's last turn: it has been looked at before.

    A turn of the model's that nothing follows is one that it shall continue, so what stands before it is new.
    """
    if isinstance(given, list):
        turns = [isinstance(each, dict) and each.get("role") == "assistant" for each in given]
        end = len(given)
        while end and turns[end - 1]:
            end -= 1
        for at in range(end - 1, -1, -1):
            if turns[at]:
                return given[at + 1 :]
    return given


def _texts(given: Any) -> Iterator[str]:
    """Give every text in a prompt, in messages, or in their parts; images have none."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, int):
        raise BadRequest("This model has a guard, which reads text: send text instead of token ids.", param="prompt")
    elif isinstance(given, list):
        for each in given:
            yield from _texts(each)
    elif isinstance(given, dict):
        for name in ("content", "text", "output"):
            yield from _texts(given.get(name))
