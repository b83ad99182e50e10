"""A form is read as it comes: small fields are collected, the file passes through, and what is no form is refused."""

from __future__ import annotations

import pytest

from gateway.api.form_stream import FormStream
from gateway.core.errors import BadRequest, GatewayError, UnsupportedMediaType

HEADERS = {b"content-type": b"multipart/form-data; boundary=B"}


def part(name: str, content: bytes, filename: str | None = None, extra: str = "") -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    return f'--B\r\ncontent-disposition: form-data; name="{name}"{named}\r\n{extra}\r\n'.encode() + content + b"\r\n"


def read(body: bytes, size: int = 1_000_000) -> tuple[FormStream, bytes]:
    content: list[bytes] = []
    form = FormStream(HEADERS, "file", content.append)
    for at in range(0, len(body), size):
        form.feed(body[at : at + size])
    form.finish()
    return form, b"".join(content)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1_000])
@pytest.mark.parametrize("file_first", [False, True])
def test_fields_and_the_file_in_any_order_and_in_pieces(size: int, file_first: bool) -> None:
    content = b"a\r\n--\r\n--Bee\r\n\x00\xff" * 5
    pieces = [
        part("purpose", b"evals"),
        part("file", content, "a.txt", "content-type: text/plain\r\n"),
        part("x", b"y"),
    ]
    form, got = read(b"".join(pieces[::-1] if file_first else pieces) + b"--B--\r\n", size)
    assert (form.filename, form.fields, got) == ("a.txt", {"purpose": "evals", "x": "y"}, content)
    assert repr(form) == "<FormStream file='a.txt' [2 fields]>"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\temp\\\\a.txt", "a.txt"),
        ("é.txt", "é.txt"),
        ("a\tb", "ab"),
        ("", "upload"),
        ("x" * 300, "x" * 255),
    ],
)
def test_the_name_of_a_file_is_a_plain_name(sent: str, shown: str) -> None:
    assert read(part("file", b"x", sent) + b"--B--")[0].filename == shown


@pytest.mark.parametrize(
    ("body", "reason", "param"),
    [
        (b"", "ends before its last boundary", None),
        (b"no form", "is not valid multipart/form-data", None),
        (part("file", b"x", "a"), "ends before its last boundary", None),
        (part("purpose", b"evals") + b"--B--", "The field file is missing", "file"),
        (part("file", b"x") + b"--B--", "must be a file, with a filename", "file"),
        (part("file", b"x", "a") * 2 + b"--B--", "The field file must come only once", "file"),
        (part("a", b"x") * 2 + b"--B--", "The field a must come only once", "a"),
        (part("a", b"x" * 5_000) + b"--B--", "The field a is longer than 4096 bytes", "a"),
        (b"".join(part(str(n), b"") for n in range(101)), "more than 100 parts", None),
    ],
)
def test_what_is_no_form_with_a_file_is_refused(body: bytes, reason: str, param: str | None) -> None:
    with pytest.raises(BadRequest, match=reason) as refused:
        read(body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "content_type", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=B"]
)
def test_another_media_type_is_refused(content_type: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="a file in the field 'file'"):
        FormStream({b"content-type": content_type}, "file", lambda _: None)


@pytest.mark.parametrize("boundary", [b"x" * 300])
def test_a_boundary_that_is_none(boundary: bytes) -> None:
    with pytest.raises(GatewayError, match="Boundary length"):
        FormStream({b"content-type": b"multipart/form-data; boundary=" + boundary}, "file", lambda _: None)


def test_a_compressed_form_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="Compressed"):
        FormStream(HEADERS | {b"content-encoding": b"gzip"}, "file", lambda _: None)
