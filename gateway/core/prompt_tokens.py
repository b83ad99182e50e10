"""Estimates the tokens of a prompt from its bytes: for limits, queues and policies alike.

No tokenizer is asked: the engine tells the real number at the end.
"""

from __future__ import annotations

import re

BYTES_PER_TOKEN = 4
"""Of JSON, roles and punctuation among it: about what English text has under the tokenizers of current models."""

MEDIA_TOKENS = 1000
"""What a picture or a recording counts, however many bytes it has; models differ from 85 to 3,000.

A prompt of fewer tokens need not be looked at for one: it would make little difference."""

_ENCODED = re.compile(rb";base64,[A-Za-z0-9+/=_-]*")


def tokens_in(text: bytes) -> int:
    """Estimate the tokens of a prompt, or of a whole body, given as JSON."""
    rest, media = _ENCODED.subn(b"", text)
    return len(rest) // BYTES_PER_TOKEN + media * MEDIA_TOKENS
