"""The JSON body of a request that the gateway answers by itself."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import TypeVar

import msgspec
from msgspec import inspect

from engines.field_choices import REFUSED, choices_at
from gateway.api.local.route import LocalRequest
from gateway.api.request_fields import check_media, empty_body
from gateway.core.errors import BadRequest

Asked = TypeVar("Asked", bound=msgspec.Struct)

_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `([^`]*)`")
"""How msgspec names a field that is missing or not known; where the object stands follows."""

_PLACE = re.compile(r"`\$\.?([^`]*)`$")
"""Where in the body something is amiss, as msgspec says it at the end of its message."""


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
        if param is not None and mistake.startswith(REFUSED):
            mistake += f"; of words it may be {', '.join(map(str, choices_at(inspect.type_info(kind), param)))}"
        raise BadRequest(f"The body is not what was expected: {mistake}.", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="malformed_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deep to be read.", code="too_deep") from None


def _param(mistake: str) -> str | None:
    """Find the field that is meant, by its path in the body; ``None`` for the body as a whole."""
    found = (pattern.search(mistake) for pattern in (_PLACE, _FIELD))
    return ".".join(each[1] for each in found if each is not None and each[1]) or None
