"""The request that an engine gets: the same for every replica, but for address and credentials."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from gateway.core.context import RequestContext
from gateway.core.prompt_tokens import tokens_in
from gateway.exchange.ports import Dialect, StreamFactory
from gateway.pools.policies.prompt_blocks import Prompt, PromptFields, read_prompt
from gateway.pools.replica import Replica

_ANSWER_TOKENS = 512
"""What a generated response is taken to have whose request does not limit it."""


class _SessionFields(msgspec.Struct):
    """The fields of a body that name the session it belongs to, as the JSON that they are."""

    prompt_cache_key: Raw = Raw()
    user: Raw = Raw()


_SESSION_FIELDS = msgspec.json.Decoder(_SessionFields)

_NO_SESSION = (b"", b"null", b'""')


class UpstreamRequest(msgspec.Struct, eq=False):
    """What an engine is asked: the same for every replica, but for its address and credentials."""

    context: RequestContext
    body: bytes
    dialect: Dialect
    streams: bool
    strip_usage: bool
    max_tokens: int
    hedges: bool
    """Whether it may be asked of two replicas: a call that changes nothing, and whose response comes in one piece."""

    usage_bytes: int = 0
    """How many bytes at the body's end ask for the usage of a stream; 0 if the body asks by itself or not at all."""

    recorded: StreamFactory | None = None
    """Begins to read its stream where another replica is to go on with it if the first one dies."""

    priority: int = 0
    """The class that the client asks for; lower ones come first."""

    waits_for_replica: bool = True
    """Whether it is held while no replica is ready; not where another model is asked then."""

    adapter: str | None = None
    """The LoRA adapter that it asks for; only replicas that have loaded it can answer."""

    fields: PromptFields | None = None
    """What its prompt is made of, where the body is still the one that it was decoded from."""

    _prompt: Prompt | None = None

    @property
    def prompt(self) -> Prompt:
        """Its prompt, as a policy reads it: once, when a policy asks."""
        prompt = self._prompt
        if prompt is None:
            prompt = self._prompt = read_prompt(self.body, self.fields)
        return prompt

    @property
    def tokens(self) -> int:
        """Estimate what it asks of an engine: the tokens of its prompt, and those that its response may have."""
        return tokens_in(self.body) + (self.max_tokens or (0 if self.hedges else _ANSWER_TOKENS))

    def body_for(self, replica: Replica) -> bytes:
        """Give the body for a replica that may not know ``stream_options``."""
        return self.body if replica.knows_stream_options else self.body[: -self.usage_bytes] + b"}"

    def session_key(self, header: bytes) -> bytes:
        """Give what requests of one session have in common; empty where the request does not say.

        The body is decoded for it each time, because only a policy that routes by session asks, once per attempt.
        """
        return session_of(self.context.head.headers, self.body, header)

    def head_for(self, replica: Replica, length: int) -> bytes:
        """Write the request's head for one replica; its body has ``length`` bytes."""
        context = self.context
        head = context.head
        address = replica.address
        # One call more only where it changes something.
        target = address.target(head.target) if address.replaces_v1 else address.prefix + head.target
        return b"POST %b HTTP/1.1\r\n%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
            target,
            replica.headers,
            head.headers_up,
            context.trace,
            context.request_id.encode(),
            length,
        )


def session_of(headers: Mapping[bytes, bytes], body: bytes, header: bytes) -> bytes:
    """Give what requests of one session have in common; empty where the request does not say.

    That is the value of ``header``, else of the field ``prompt_cache_key``, else of ``user``.
    """
    named = headers.get(header)
    if named:
        return named
    try:
        fields = _SESSION_FIELDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # A form is no JSON.
        return b""
    for value in (bytes(fields.prompt_cache_key), bytes(fields.user)):
        if value not in _NO_SESSION:
            return value
    return b""
