"""What is read of a form: the model and whether to stream, wherever they stand; the file stays where it is."""

from __future__ import annotations

import pytest

from gateway.api import multipart
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest, UnsupportedCoding, UnsupportedMediaType

FILE = (
    b'content-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\nRIFF\r\n--y\x00'
)


def part(name: bytes, value: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (name, value)


def form(*parts: bytes, media: bytes = b"multipart/form-data; boundary=x") -> RequestContext:
    context = RequestContext(RequestHead("127.0.0.1"))
    context.head.headers[b"content-type"] = media
    context.body = b"".join(b"--x\r\n%b\r\n" % each for each in parts) + b"--x--\r\n"
    return context


@pytest.mark.parametrize("model_first", [True, False])
def test_the_model_and_the_stream_flag_are_found_before_and_behind_the_file(model_first: bool) -> None:
    fields = [part(b"model", b"whisper"), part(b"stream", b"true")]
    read = multipart.read(form(*fields, FILE) if model_first else form(FILE, *fields))
    assert (read.facts.model, read.facts.stream) == ("whisper", True)


@pytest.mark.parametrize(
    ("value", "streams"),
    [(b"false", False), (b"True", True), (b"1", True), (b"", False), (b"yes", True), (b"\xff", False), (b"0", False)],
)
def test_a_flag_is_written_in_several_ways(value: bytes, streams: bool) -> None:
    assert multipart.read(form(part(b"model", b"m"), part(b"stream", value))).facts.stream is streams


def test_another_name_for_the_model_changes_nothing_else() -> None:
    context = form(FILE, part(b"model", b"alias"), part(b"language", b"alias"))
    changed = multipart.read(context).with_model("the-real-name")
    assert changed == context.body.replace(b"\r\n\r\nalias", b"\r\n\r\nthe-real-name", 1)


@pytest.mark.parametrize("parts", [(), (FILE,), (part(b"model", b""),)], ids=["empty", "file", "no name"])
def test_a_form_without_a_model_has_none(parts: tuple[bytes, ...]) -> None:
    assert multipart.read(form(*parts)).facts.model is None


def test_a_file_called_model_is_not_the_models_name() -> None:
    disguised = b'content-disposition: form-data; name="model"; filename="m"\r\n\r\nx'
    assert multipart.read(form(disguised)).facts.model is None


@pytest.mark.parametrize(
    "media",
    [b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=x", b""],
)
def test_anything_but_a_form_is_a_415(media: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="multipart/form-data"):
        multipart.read(form(part(b"model", b"m"), media=media))


def test_a_compressed_form_is_refused() -> None:
    context = form(part(b"model", b"m"))
    context.head.headers[b"content-encoding"] = b"gzip"
    with pytest.raises(UnsupportedCoding):
        multipart.read(context)


def test_a_form_that_is_no_form_says_so() -> None:
    context = form()
    context.body = b"model=m"
    with pytest.raises(BadRequest, match="not valid multipart/form-data"):
        multipart.read(context)


@pytest.mark.parametrize("name", [b"model", b"stream"])
def test_a_field_that_comes_twice_is_ambiguous(name: bytes) -> None:
    with pytest.raises(BadRequest, match="only once") as refused:
        multipart.read(form(part(name, b"a"), part(name, b"b")))
    assert refused.value.param == name.decode()


def test_a_name_is_not_a_book() -> None:
    with pytest.raises(BadRequest, match="The field model is not a plain name"):
        multipart.read(form(part(b"model", b"m" * 5000)))


def test_a_form_of_very_many_parts_is_refused_before_they_are_read() -> None:
    assert multipart.read(form(part(b"model", b"m"), *[part(b"x", b"1")] * 999)).facts.model == "m"
    with pytest.raises(BadRequest) as refused:
        multipart.read(form(part(b"model", b"m"), *[part(b"x", b"1")] * 1000))
    assert refused.value.code == "too_complex"
