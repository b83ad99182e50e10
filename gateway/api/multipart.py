"""The few fields of a ``multipart/form-data`` body that the gateway acts on; the file in it is never copied."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.api.request_fields import RequestFields, as_flag, check_coding
from gateway.core.context import RequestContext
from gateway.core.errors import BadRequest, UnsupportedMediaType

_MAX_FIELD_BYTES = 4096
"""A field that the gateway reads is a name or a flag, never longer than this."""

_MAX_PARTS = 1000
"""Each part costs its callbacks; a body of 32 MiB could have half a million."""


@dataclass(slots=True)
class Form:
    """What was found: the facts, and where in the body the model's name stands."""

    body: bytes
    values: dict[bytes, bytes] = field(default_factory=dict)
    model_at: tuple[int, int] | None = None

    @property
    def facts(self) -> RequestFields:
        """The fields in the form that a JSON body gives them."""
        model = self.values.get(b"model")
        return RequestFields(
            model=model.decode("utf-8", "replace") if model is not None else None,
            stream=as_flag(self.values.get(b"stream", b"").decode("utf-8", "replace")) is True,
        )

    def with_model(self, name: str) -> bytes:
        """Give the body with another model's name in it, every other byte as it was."""
        assert self.model_at is not None
        start, end = self.model_at
        return self.body[:start] + name.encode() + self.body[end:]


class _Reader:
    """Takes the parser's callbacks and keeps the fields that matter."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._name: bytes | None = None
        self._parts = 0

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise BadRequest(f"The form has more than {_MAX_PARTS} parts.", code="too_complex")
        self._disposition = b""
        self._name = None

    def on_header_begin(self) -> None:
        self._header = self._value = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if name not in (b"model", b"stream") or b"filename" in options:
            return
        if name in self._form.values:
            raise BadRequest(f"The field {name.decode()} must come only once.", param=name.decode())
        self._name = name
        self._form.values[name] = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        name = self._name
        if name is None:
            return
        value = self._form.values[name] + data[start:end]
        if len(value) > _MAX_FIELD_BYTES or (name == b"model" and self._form.model_at is not None):
            raise BadRequest(f"The field {name.decode()} is not a plain name.", param=name.decode())
        self._form.values[name] = value
        if name == b"model":
            self._form.model_at = (start, end)


def read(context: RequestContext) -> Form:
    """Read a form. Raises ``UnsupportedMediaType`` or ``BadRequest``."""
    media, options = parse_options_header(context.head.headers.get(b"content-type"))
    boundary = options.get(b"boundary")
    if media != b"multipart/form-data" or not boundary:
        raise UnsupportedMediaType("This endpoint reads multipart/form-data with a boundary, as OpenAI's SDK sends it.")
    check_coding(context.head.headers)
    form = Form(context.body)
    reader = _Reader(form)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.on_part_begin,
                "on_header_begin": reader.on_header_begin,
                "on_header_field": reader.on_header_field,
                "on_header_value": reader.on_header_value,
                "on_header_end": reader.on_header_end,
                "on_headers_finished": reader.on_headers_finished,
                "on_part_data": reader.on_part_data,
            },
        )
        parser.write(context.body)
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"The body is not valid multipart/form-data: {error}.", code="malformed_form") from None
    if form.values.get(b"model") == b"":
        form.values.pop(b"model")
    return form
