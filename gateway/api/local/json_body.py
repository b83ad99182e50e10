"""The JSON body of a request that the gateway answers by itself."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from gateway.api.local.route import LocalRequest
from gateway.api.request_fields import check_media
from gateway.core.errors import BadRequest

Asked = TypeVar("Asked", bound=msgspec.Struct)


def decoded(request: LocalRequest, kind: type[Asked]) -> Asked:
    """Decode a JSON body. Raises ``BadRequest`` or ``UnsupportedMediaType``."""
    check_media(request.head.headers)
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as error:
        _, _, at = str(error).partition(" - at `$.")
        raise BadRequest(f"The body is not what was expected: {error}.", param=at.rstrip("`") or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="malformed_json") from None
