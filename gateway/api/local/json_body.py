"""The JSON body of a request that the gateway answers by itself."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import inspect

from gateway.api.local.route import LocalRequest
from gateway.api.request_fields import check_media, empty_body
from gateway.core.errors import BadRequest

Asked = TypeVar("Asked", bound=msgspec.Struct)

_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `([^`]*)`")
"""How msgspec names a field that is missing or not known; where the object stands follows."""

_PLACE = re.compile(r"`\$\.?([^`]*)`$")
"""Where in the body something is amiss, as msgspec says it at the end of its message."""

_OTHER_WORD = "Invalid enum value"
"""How msgspec says that a text is none of the words that a field may be, which it does not tell."""


def decoded(request: LocalRequest, kind: type[Asked]) -> Asked:
    """Decode a JSON body. Raises ``BadRequest`` naming the field, or ``UnsupportedMediaType``."""
    check_media(request.head.headers)
    body = request.body.removeprefix(BOM_UTF8)
    if not body:
        raise empty_body()
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        mistake, param = str(error), _param(str(error))
        if param is not None and mistake.startswith(_OTHER_WORD):
            mistake += f"; of words it may be {', '.join(_words(kind, param))}"
        raise BadRequest(f"The body is not what was expected: {mistake}.", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="malformed_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deep to be read.", code="too_deep") from None


def _param(mistake: str) -> str | None:
    """Find the field that is meant, by its path in the body; ``None`` for the body as a whole."""
    found = (pattern.search(mistake) for pattern in (_PLACE, _FIELD))
    return ".".join(each[1] for each in found if each is not None and each[1]) or None


def _words(kind: type[msgspec.Struct], path: str) -> Sequence[str]:
    """List the words that the field at a path of names may be."""
    found: Sequence[inspect.Type] = (inspect.type_info(kind),)
    for name in path.split("."):
        fields = [field for each in found if isinstance(each, inspect.StructType) for field in each.fields]
        types = [field.type for field in fields if field.encode_name == name]
        found = [one for each in types for one in (each.types if isinstance(each, inspect.UnionType) else (each,))]
    return [str(word) for each in found if isinstance(each, inspect.LiteralType) for word in each.values]
