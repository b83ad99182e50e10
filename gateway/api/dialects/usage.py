"""Token usage, wherever the dialects put it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.core.context import RequestContext

Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
"""A number of tokens. A counter must never go down, and one absurd number would make every later sum worthless."""


class Details(msgspec.Struct, gc=False):
    """How many of the input's tokens came from a cache."""

    cached_tokens: Tokens | None = None


class Usage(msgspec.Struct, gc=False):
    """Usage in any of the dialects: OpenAI's completions, OpenAI's responses, Anthropic's messages."""

    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_tokens_details: Details | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    input_tokens_details: Details | None = None
    cache_read_input_tokens: Tokens | None = None

    def put(self, context: RequestContext) -> None:
        """Write what is known here into the context; a later report replaces an earlier one, it is never added."""
        given, made = self.prompt_tokens, self.completion_tokens
        if given is None:
            given = self.input_tokens
        if made is None:
            made = self.output_tokens
        details = self.prompt_tokens_details or self.input_tokens_details
        cached = details.cached_tokens if details is not None else self.cache_read_input_tokens
        if given is not None:
            context.input_tokens = given
        if made is not None:
            context.output_tokens = made
        if cached is not None:
            context.cached_tokens = cached


class Metered(msgspec.Struct, gc=False):
    """Anything that may hold a usage: a whole response, or one event of a stream."""

    usage: Usage | None = None


class Wrapped(msgspec.Struct, gc=False):
    """An event that holds its usage one level down, under ``message`` or ``response``."""

    usage: Usage | None = None
    message: Metered | None = None
    response: Metered | None = None

    @property
    def found(self) -> Usage | None:
        """The usage, on whichever level."""
        inner = self.message or self.response
        return self.usage or (inner.usage if inner is not None else None)


_RESPONSE = msgspec.json.Decoder(Metered)
_EVENT = msgspec.json.Decoder(Wrapped)


class ResponseMeter:
    """The part of a dialect that reads whole responses, in which all dialects are alike."""

    __slots__ = ()

    def meter(self, context: RequestContext, body: bytes) -> None:
        """Take the usage out of a whole response, if it has one; one that cannot be read is the client's to judge."""
        try:
            usage = _RESPONSE.decode(body).usage
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if usage is not None:
            usage.put(context)


def meter_event(context: RequestContext, data: bytes) -> bool:
    """Take the usage out of one event's data; return whether there was one."""
    try:
        usage = _EVENT.decode(data).found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if usage is None:
        return False
    usage.put(context)
    return True
