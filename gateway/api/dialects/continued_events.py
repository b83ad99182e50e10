"""The events of a replica that goes on with another one's completion, as further events of the same stream."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from gateway.api.dialects.continued_request import ContinuedRequest
from gateway.api.dialects.stream_reader import DONE, NOTHING, NULL
from gateway.core.errors import UpstreamFailed
from gateway.http import sse

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_CHOICES = msgspec.json.Decoder(list[dict[str, Raw]])

_NO_TEXT = frozenset({"finish_reason", "index", "stop_reason"})
"""The fields of a choice that are neither text nor anything that a text could not stand for."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Identity(msgspec.Struct):
    """The fields that all events of one stream have in common, as JSON."""

    id: Raw = NULL
    created: Raw = NULL
    model: Raw = NULL


class ContinuedEvents:
    """Rewrites the events of a continuation: the ids are the first replica's, and the usage is that of the whole.

    ``tokens`` have come of the first, whose prompt has ``prompt_tokens`` if that is known. Else they are what the
    continuation's prompt has less ``tokens``; so the sum is always what the last replica has counted.
    """

    def __init__(
        self,
        asked: ContinuedRequest,
        first: Identity,
        *,
        tokens: int,
        prompt_tokens: int | None,
        finished: bool,
    ) -> None:
        self.body = asked.body
        self._owed = asked.owed
        self._first = first
        self._tokens = tokens
        self._prompt_tokens = prompt_tokens
        self._finished = finished

    def __repr__(self) -> str:
        return f"<ContinuedEvents behind {self._tokens} tokens>"

    def rewrite(self, events: bytes) -> bytes:
        """Give whole events as events of the first stream; what does not go on from its text becomes an error event."""
        return b"".join(map(self._rewritten, sse.split(events)))

    def _rewritten(self, event: bytes) -> bytes:
        data = sse.data_of(event)
        if not data or data.rstrip() == DONE:
            return event
        try:
            fields = _OBJECT.decode(data)
            choices = _CHOICES.decode(fields.get("choices", b"[]"))
            if bytes(fields.get("error", NULL)) not in NOTHING:
                return event
            if choices:
                if self._finished:
                    return b""
                choices = [self._of_text(choice) for choice in choices]
                if not any(map(_says_something, choices)):
                    return b""
                fields["choices"] = Raw(msgspec.json.encode(choices))
            usage = msgspec.json.decode(fields.get("usage", NULL))
            if usage:
                fields["usage"] = Raw(msgspec.json.encode(self._whole_usage(usage)))
        except (*_UNREADABLE, TypeError, KeyError):
            return _MISMATCH
        for name in ("id", "created", "model"):
            if name in fields:
                fields[name] = getattr(self._first, name)
        return b"data: %b\n\n" % msgspec.json.encode(fields)

    def _of_text(self, choice: dict[str, Raw]) -> dict[str, Raw]:
        """Leave out the role, which the client has got, and the white space that it has. Raises ``TypeError``."""
        text = text_of(choice)
        if text is None:
            raise TypeError("a choice that is not text")
        if self._owed and text:
            text = self._without_owed(text)
        place = choice
        if "delta" in choice:
            place = _OBJECT.decode(choice["delta"])
            place.pop("role", None)
        name = "content" if "delta" in choice else "text"
        if name in place and bytes(place[name]) != b"null":
            place[name] = Raw(b'"%b"' % text)
        return choice | {"delta": Raw(msgspec.json.encode(place))} if "delta" in choice else choice

    def _without_owed(self, escaped: bytes) -> bytes:
        """Take off what the client has got already. Raises ``TypeError`` if something else comes instead."""
        text: str = msgspec.json.decode(b'"%b"' % escaped, type=str)
        both = min(len(text), len(self._owed))
        if text[:both] != self._owed[:both]:
            raise TypeError("another text")
        self._owed = self._owed[both:]
        # That token was counted when it came for the first time.
        self._tokens -= 1
        return msgspec.json.encode(text[both:])[1:-1]

    def _whole_usage(self, usage: dict[str, Any]) -> dict[str, Any]:
        """Give the usage of the whole response. Raises ``KeyError`` or ``TypeError`` if it cannot be read."""
        asked, made = usage["prompt_tokens"], usage["completion_tokens"]
        prompt = max(0, asked - self._tokens) if self._prompt_tokens is None else self._prompt_tokens
        total = asked + (0 if self._finished else made)
        return usage | {"prompt_tokens": prompt, "completion_tokens": total - prompt, "total_tokens": total}


def text_of(choice: dict[str, Raw]) -> bytes | None:
    """Give the text of the first choice in one event, as it stands in JSON without its quotes.

    ``None`` for any other choice and for one that brings anything else: a call of a tool, thoughts, log probabilities.
    """
    text = b""
    fields = choice
    delta = choice.get("delta")
    if delta is not None:
        fields = {name: value for name, value in choice.items() if name != "delta"}
        parts = _OBJECT.decode(delta) if bytes(delta) != b"null" else {}
        fields |= {f"delta.{name}": value for name, value in parts.items()}
    for name, raw in fields.items():
        value = bytes(raw)
        if name in ("text", "delta.content") and value.startswith(b'"'):
            text = value[1:-1]
        elif name == "index":
            if value not in (b"0", b"null"):
                return None
        elif name not in _NO_TEXT and name != "delta.role" and value not in NOTHING:
            return None
    return text


def _says_something(choice: dict[str, Raw]) -> bool:
    """Whether a choice brings text or the end."""
    return bool(text_of(choice)) or bytes(choice.get("finish_reason", NULL)) not in NOTHING


_MISMATCH = b"data: %b\n\n" % UpstreamFailed("The engine did not go on from the text so far.").body()
