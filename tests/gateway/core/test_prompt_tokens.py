"""A prompt counts a token for every four bytes, and pictures and recordings no more than a thousand each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core.prompt_tokens import tokens_in

DATA = "iVBORw0K" * 5000
URL = f"data:image/png;base64,{DATA}"
PICTURE = {"type": "image_url", "image_url": {"url": URL}}
JPEG = "/9j/4AAQSkZJRgAB" * 5000
ESSAY = "It rained all day, and nobody came to the door. " * 800


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def anthropic(data: str, **source: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data, **source}}


def tokens_of(*parts: Any) -> int:
    return tokens_in(json.dumps([{"role": "user", "content": parts}]).encode())


def test_four_bytes_of_text_are_a_token() -> None:
    assert tokens_in(b"word" * 5000) == 5000
    assert tokens_in(b"[]") == 0


@pytest.mark.parametrize(
    "part",
    [
        PICTURE,
        {"type": "image_url", "image_url": {"url": f"data:image/svg+xml;charset=utf-8;base64,{DATA}"}},
        {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{DATA}"}},
        {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
        {"type": "input_image", "image_url": URL},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{DATA}"},
        anthropic(DATA),
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}},
        {"type": "tool_result", "tool_use_id": "t", "content": [anthropic(DATA)]},
        anthropic("\n".join(DATA[at : at + 76] for at in range(0, len(DATA), 76))),
        anthropic(DATA.replace("/", "_") + "=="),
    ],
    ids=[
        "chat",
        "parameter",
        "video",
        "audio",
        "responses",
        "file",
        "messages",
        "document",
        "tool result",
        "lines",
        "padded",
    ],
)
def test_a_picture_or_a_recording_counts_as_a_thousand_tokens_in_every_dialect(part: Any) -> None:
    for separators in (None, (",", ":")):
        body = json.dumps({"messages": [{"role": "user", "content": [part]}]}, separators=separators).encode()
        assert 1000 <= tokens_in(body) < 1060
        # Some clients escape the slashes of a string, which means the same.
        assert 1000 <= tokens_in(body.replace(b"/", rb"\/")) < 1060


def test_escaped_slashes_do_not_end_a_picture() -> None:
    assert 1000 <= tokens_in(json.dumps([anthropic(JPEG)]).replace("/", r"\/").encode()) < 1060


def test_several_pictures_count_each_and_the_text_between_and_after_them_counts() -> None:
    few = tokens_of(PICTURE, anthropic(DATA), PICTURE)
    assert 3000 <= few < 3120
    words = "What is this? " * 1000
    assert tokens_of(PICTURE, text(words), anthropic(DATA), PICTURE, text(words)) == pytest.approx(few + 7000, abs=20)


def test_a_small_picture_counts_as_its_bytes() -> None:
    small = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400}}
    assert tokens_of(small) == pytest.approx(100, abs=35)
    assert tokens_of(PICTURE, small) == pytest.approx(tokens_of(PICTURE) + 100, abs=25)


@pytest.mark.parametrize("length", [4001, 4100, 7999, 8000, 8001, 12_345])
def test_a_picture_is_found_wherever_it_stands_and_however_long_it_is(length: int) -> None:
    for before in (*range(0, 3700, 89), *range(3700, 4100)):
        found = tokens_of(text("w" * before), anthropic("A" * length), text("Hi"))
        assert found == pytest.approx(before // 4 + 1000, abs=60), before


@pytest.mark.parametrize(
    "part",
    [
        text(f"![a cat]({URL}) What is this?"),
        text(f'Mend this: <img src="{URL}"> It shows nothing.'),
        text(f'Is {{"data": "{DATA}"}} valid?'),
        text(f"{URL} What is this?"),
        text(DATA),
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": ESSAY}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "昔々あるところに" * 1000}},
        {"type": "function_call", "arguments": json.dumps({"data": ESSAY})},
    ],
    ids=["markdown", "HTML", "quoted", "text after it", "no picture", "essay", "no spaces", "arguments"],
)
def test_what_a_model_reads_as_text_counts_as_text(part: Any) -> None:
    for ascii_only in (True, False):
        body = json.dumps([part], ensure_ascii=ascii_only).encode()
        assert tokens_in(body) == len(body) // 4


def test_a_picture_at_an_address_counts_as_the_address() -> None:
    assert tokens_of({"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}) < 40


@pytest.mark.parametrize(
    "body",
    [b"", b'"' * 20_000, b"\x00\xff" * 10_000, b'"data:;base64,' * 2000, b'{"data":"' + b"A" * 9000, b"--form\r\n"],
)
def test_what_is_no_json_counts_as_its_bytes(body: bytes) -> None:
    assert tokens_in(body) == len(body) // 4
