"""A prompt counts a token for every four bytes, and its pictures as pictures."""

from __future__ import annotations

from gateway.core.prompt_tokens import tokens_in


def test_four_bytes_of_text_are_a_token() -> None:
    assert tokens_in(b"word" * 5000) == 5000


def test_each_picture_counts_as_a_thousand_tokens_and_the_text_beside_it_as_text() -> None:
    picture = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}' % (b"iVBORw0K" * 5000)
    assert 1000 <= tokens_in(picture) < 1030
    text = b'{"type":"text","text":"%b"}' % (b"word" * 5000)
    assert 3000 + 5000 <= tokens_in(b"[%b]" % b",".join([picture, text, picture, picture])) < 3100 + 5000
