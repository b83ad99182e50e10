"""Reads the JSON of requests: strictly at first, and as leniently as vLLM does where that fails.

vLLM reads requests with pydantic, whose lax mode takes ``1.0`` and ``"1"`` for the integer 1 and ``1``, ``"true"`` or
``"on"`` for a boolean. Clients written for it send such values, and ``null`` for what they do not set. They pay for it
themselves: a request that is strictly right is decoded once.
"""

from __future__ import annotations

import codecs
import re
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from engines.field_choices import REFUSED, choices_at, kinds_of
from engines.onnx.errors import BadRequest

AnyRequest = TypeVar("AnyRequest", bound=msgspec.Struct)

_PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_LENGTH = "Expected `array` of length"

_BOOLEANS = dict.fromkeys(("1", "t", "true", "y", "yes", "on"), True) | dict.fromkeys(
    ("0", "f", "false", "n", "no", "off"), False
)


def decode(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    """Read a request from JSON, which a byte order mark may precede.

    Raises ``BadRequest``, which names the field when a value has a wrong type or says where the JSON is broken.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the strings of fields that it skips.
        return _decode(body, kind)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        path = place["path"] if place else ""
        raise BadRequest(_with_choices(str(error), kind, path), param=path or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply") from None


def _with_choices(message: str, kind: type[msgspec.Struct], path: str) -> str:
    """Say which values a field takes, where it takes only some: msgspec says only which one it does not."""
    choices = choices_at(_shape(kind), path) if message.startswith(REFUSED) else ()
    if not choices:
        return message
    problem, at, place = message.rpartition(" - at ")
    return f"{problem}, expected {' or '.join(map(repr, choices))}{at}{place}"


def _decode(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        if str(error).startswith(_LENGTH):
            raise  # No other way to read it makes a list shorter, and it may have millions of items.
        return msgspec.convert(_relaxed(msgspec.json.decode(body), _shape(kind)), kind, strict=False)


@cache
def _shape(kind: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(kind)


def _relaxed(value: Any, wanted: inspect.Type) -> Any:
    """Bring a value nearer to a type, as far as ``msgspec.convert`` does not do that by itself.

    What cannot be meant for the type stays as it is, to be refused with its place.
    """
    kinds = kinds_of(wanted)
    for kind in kinds:
        if isinstance(value, dict) and isinstance(kind, inspect.StructType):
            return _relaxed_fields(value, kind)
        if isinstance(value, list) and isinstance(kind, inspect.ListType):
            return [_relaxed(each, kind.item_type) for each in value]
    if any(isinstance(kind, inspect.StrType) for kind in kinds):
        return value
    if any(isinstance(kind, inspect.BoolType) for kind in kinds):
        return _boolean(value)
    return _integer(value) if any(_counts(kind) for kind in kinds) else value


def _relaxed_fields(fields: dict[str, Any], wanted: inspect.StructType) -> dict[str, Any]:
    """Relax the fields of an object, and leave out nulls in the place of a default."""
    known = {field.encode_name: field for field in wanted.fields}
    return {
        name: _relaxed(value, known[name].type) if name in known else value
        for name, value in fields.items()
        if value is not None or name not in known or known[name].required or _takes_null(known[name].type)
    }


def _takes_null(wanted: inspect.Type) -> bool:
    return any(isinstance(kind, inspect.AnyType | inspect.NoneType) for kind in kinds_of(wanted))


def _counts(kind: inspect.Type) -> bool:
    """Whether a type is of integers."""
    return isinstance(kind, inspect.IntType) or (
        isinstance(kind, inspect.LiteralType) and all(isinstance(each, int) for each in kind.values)
    )


def _boolean(value: Any) -> Any:
    if isinstance(value, str):
        return _BOOLEANS.get(value.lower(), value)
    return bool(value) if isinstance(value, float) and value in (0.0, 1.0) else value


def _integer(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value
