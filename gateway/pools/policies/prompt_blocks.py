"""The prompt of a request as a policy knows it: about how many tokens, and the hashes of its beginnings.

A prompt is hashed as the JSON that came, not as the tokens that an engine makes of it: no tokenizer and no chat
template is needed, and equal bytes give equal tokens. What a template puts in front is the same for all prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec
from msgspec import Raw

from gateway.core.prompt_tokens import BYTES_PER_TOKEN, MEDIA_TOKENS, tokens_in

_SMALLEST_BLOCK = 1024
"""Bytes of the first blocks of a prompt. Engines share prefixes of as few as 16 tokens, which save next to nothing."""

_GROWTH = 32
"""Later blocks have this fraction of what stands before them, so that a long prompt has few."""

_MOST_BYTES = 8 * 1024 * 1024
"""What stands behind this is not looked at: some two million tokens."""

_TOKEN_IDS = re.compile(rb"\[\s*\[?\s*\d")


def _ends() -> Iterator[int]:
    at = 0
    while at < _MOST_BYTES:
        at += max(_SMALLEST_BLOCK, at // _GROWTH)
        yield at


BLOCK_ENDS = tuple(_ends())
"""Where blocks end, in bytes from the beginning of the prompt; the same for all prompts."""

_SPANS = tuple((end, slice(start, end)) for start, end in pairwise((0, *BLOCK_ENDS)))

BLOCK_BYTES = tuple(span.stop - span.start for _, span in _SPANS)
"""How many bytes each block of a prompt has."""


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """A prompt: its estimated ``tokens``, and the hash of each of its beginnings that ends with a block.

    Two prompts that have a hash in common have all before it in common. ``per_byte`` turns bytes into tokens.
    """

    tokens: int
    blocks: Sequence[int]
    per_byte: float

    def tokens_of(self, blocks: int) -> float:
        """Give how many tokens its first ``blocks`` blocks have."""
        return BLOCK_ENDS[blocks - 1] * self.per_byte if blocks else 0.0


class PromptFields(msgspec.Struct, gc=False):
    """The fields of a body that keep prompts apart, and those that one is made of, as the JSON that they are."""

    model: str | None = None
    cache_salt: Raw = Raw()
    tools: Raw = Raw()
    system: Raw = Raw()
    instructions: Raw = Raw()
    prompt: Raw = Raw()
    messages: Raw = Raw()
    input: Raw = Raw()


_DECODER = msgspec.json.Decoder(PromptFields)


def read_prompt(body: bytes, fields: PromptFields | None = None) -> Prompt:
    """Read the prompt in the JSON body of a request for completions, chats, responses or messages.

    Tools and instructions come first, as chat templates have them. A body in which no prompt can be found has no
    blocks, and as many tokens as its length says. ``fields`` spare it the decoding where that was done before.
    """
    if fields is None:
        try:
            fields = _DECODER.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Prompt(tokens_in(body), (), 0.0)
    # Most prompts are messages alone.
    if fields.tools or fields.system or fields.instructions or fields.prompt or fields.input:
        text = _joined(fields)
    else:
        text = bytes(fields.messages)
    size = len(text)
    if not size:
        return Prompt(tokens_in(body), (), 0.0)
    tokens = size // BYTES_PER_TOKEN
    # Messages are never token ids.
    if not fields.messages and _TOKEN_IDS.match(fields.prompt or fields.input):
        tokens = text.count(b",") + 1
    elif tokens > MEDIA_TOKENS:
        # One call more only where it changes something.
        tokens = tokens_in(text)
    before = hash(fields.model) if not fields.cache_salt else hash((fields.model, bytes(fields.cache_salt)))
    blocks: list[int] = []
    # ``hash`` of bytes is SipHash under a key that each process draws: nobody outside can make two prompts collide.
    for end, span in _SPANS:
        if end > size:
            break
        before = hash((before, text[span]))
        blocks.append(before)
    return Prompt(tokens, blocks, tokens / size)


def _joined(fields: PromptFields) -> bytes:
    """Give the whole prompt: tools and instructions come first, as chat templates have them."""
    return b"".join([fields.tools, fields.system, fields.instructions, fields.prompt, fields.messages, fields.input])
