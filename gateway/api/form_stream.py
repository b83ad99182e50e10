"""A ``multipart/form-data`` body (RFC 7578) that is read piece by piece: small fields are collected, a file is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.api.request_fields import check_coding
from gateway.core.errors import BadRequest, UnsupportedMediaType
from gateway.files.records import plain_filename

_MAX_FIELD_BYTES = 4096
"""A field beside the file is a word or a number, never longer than this."""

_MAX_PARTS = 100
"""Each part costs its callbacks."""

FORM_BYTES = 64 * 1024
"""How much a form may have beside the content of its file, in bytes."""


class FormStream:
    """Reads a form as its bytes come: ``file_field`` goes to ``write`` in pieces, everything else into ``fields``.

    Raises ``UnsupportedMediaType`` if the headers announce no such form.
    """

    def __init__(self, headers: Mapping[bytes, bytes], file_field: str, write: Callable[[bytes], None]) -> None:
        media, options = parse_options_header(headers.get(b"content-type"))
        boundary = options.get(b"boundary")
        if media != b"multipart/form-data" or not boundary:
            raise UnsupportedMediaType(
                f"This endpoint reads multipart/form-data with a boundary and a file in the field {file_field!r}, "
                "as OpenAI's SDK sends it."
            )
        check_coding(headers)
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """The name of the file, once it has begun."""
        self._file_field = file_field
        self._write = write
        self._parser = _parser_of(boundary, self)
        self._parts = 0
        self._header = self._header_value = self._disposition = b""
        self._name = ""
        self._value = b""
        self._in_file = False
        self._ended = False

    def __repr__(self) -> str:
        return f"<FormStream {self._file_field}={self.filename!r} [{len(self.fields)} fields]>"

    def feed(self, data: bytes) -> None:
        """Take what has come of the body. Raises ``BadRequest``, or what ``write`` raises."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def finish(self) -> None:
        """Check that the form is whole and has its file. Raises ``BadRequest``."""
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        if self.filename is None:
            raise BadRequest(
                f"The field {self._file_field} is missing; it holds the file, with a filename.", param=self._file_field
            )

    # python-multipart

    def on_part_begin(self) -> None:
        """Forget the part before."""
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise BadRequest(f"The form has more than {_MAX_PARTS} parts.", code="too_complex")
        self._header = self._header_value = self._disposition = self._value = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """Collect the name of a part's header."""
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """Collect the value of a part's header."""
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        """Keep the one header that matters."""
        if self._header.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header = self._header_value = b""

    def on_headers_finished(self) -> None:
        """Tell the file from the fields."""
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = self._name == self._file_field
        if not self._in_file:
            return
        if self.filename is not None:
            raise BadRequest(f"The field {self._name} must come only once.", param=self._name)
        if b"filename" not in options:
            raise BadRequest(f"The field {self._name} must be a file, with a filename.", param=self._name)
        self.filename = plain_filename(options[b"filename"].decode("utf-8", "replace"))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Pass on what belongs to the file, and collect what belongs to a field."""
        if self._in_file:
            self._write(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _MAX_FIELD_BYTES:
            raise BadRequest(f"The field {self._name[:100]} is longer than {_MAX_FIELD_BYTES} bytes.", param=self._name)

    def on_part_end(self) -> None:
        """Keep a field."""
        if not self._in_file:
            if self._name in self.fields:
                raise BadRequest(f"The field {self._name[:100]} must come only once.", param=self._name)
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def on_end(self) -> None:
        """Note that the last boundary has come."""
        self._ended = True


def _parser_of(boundary: bytes, form: FormStream) -> MultipartParser:
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_part_end": form.on_part_end,
                "on_end": form.on_end,
            },
        )
    except FormParserError as error:
        raise _malformed(str(error)) from None


def _malformed(reason: str) -> BadRequest:
    return BadRequest(f"The body is not valid multipart/form-data: {reason}.", code="malformed_form")
