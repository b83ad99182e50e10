"""Estimates the tokens of a prompt from its bytes: for limits, queues and policies alike.

No tokenizer is asked: the engine tells the real number at the end.
"""

from __future__ import annotations

import re

BYTES_PER_TOKEN = 4
"""Of JSON, roles and punctuation among it: about what English text has under the tokenizers of current models."""

MEDIA_TOKENS = 1000
"""What a picture or a recording counts at most; models differ from 85 to 3,000.

Of a smaller one all bytes count, so that shorter prompts need not be looked at."""

_MEDIA_BYTES = MEDIA_TOKENS * BYTES_PER_TOKEN

_QUOTE = b'"'

_SAMPLE = 64
"""How many characters are looked at where a string begins and ends; hardly any text goes on so long without a space."""

_BASE64 = rb"(?:[\w+/=-]|\\[/nr])"
"""A character of it within JSON. Some clients escape slashes, and some encoders break lines."""

_BEGINNING = re.compile(
    rb'(?:"data:[^",]{0,200};base64,|(?<="data":)"|(?<="data": )")%b{%d}' % (_BASE64, _SAMPLE),
)
"""Of a string that is a picture or a recording: a data URL (RFC 2397), or the value of a field ``data``.

The latter is what OpenAI's API has for audio, and Anthropic's for everything."""

_END = re.compile(rb"%b*" % _BASE64)
"""Of such a string. Text behind a picture, or an escaped quote around it, makes all of it text, as engines read it."""


def tokens_in(text: bytes) -> int:
    """Estimate the tokens of a prompt, or of a whole body, given as JSON.

    That is a quarter of its bytes, of which pictures and recordings count no more than ``MEDIA_TOKENS`` each.

    Only strings longer than that are looked at, and of those only where they begin and end: to look at every byte of a
    picture, or for a word in a long text, takes longer than to hash it. A step of that length from the last quote
    misses no such string, and ``find`` goes on from there to the next quote at the speed of memory.
    """
    counted, before = len(text), 0
    while (end := text.find(_QUOTE, before + _MEDIA_BYTES)) > 0:
        beginning = text.rfind(_QUOTE, before, end)
        size = end - beginning - 1
        if size > _MEDIA_BYTES and _BEGINNING.match(text, beginning) and _END.fullmatch(text, end - _SAMPLE, end):
            counted -= size - _MEDIA_BYTES
        before = end
    return counted // BYTES_PER_TOKEN
