"""What an engine says about a failure, in any of the shapes that are in use, read into the error that a client gets.

vLLM puts an HTTP phrase into ``type`` and an integer into ``code``, FastAPI answers ``{"detail": …}``, Google answers a
list, and a proxy in between HTML; all of them become the one shape that OpenAI's clients read. Words that those clients
act on survive: ``type``, a textual ``code``, ``param``, and all other fields of the error object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from gateway.core.errors import (
    EngineRefusal,
    GatewayError,
    RateLimited,
    Retry,
    Source,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)

OVERLOADED = 529
"""Anthropic's status for ``overloaded_error``."""

_TYPE = re.compile(r"[a-z][a-z0-9_]*")
"""How a type looks that clients know; vLLM has phrases (``Bad Request``) or names of classes (``BadRequestError``)."""

_MEANINGS: tuple[tuple[str, int], ...] = (
    ("quota", 429),
    ("ratelimit", 429),
    ("toomanyrequests", 429),
    ("resourceexhausted", 429),
    ("overload", 503),
    ("unavailable", 503),
    ("timeout", 504),
    ("apikey", 401),
    ("notimplemented", 501),
    ("authentication", 401),
    ("permission", 403),
    ("notfound", 404),
    ("toolarge", 413),
    ("invalid", 400),
    ("badrequest", 400),
    ("contextlength", 400),
    ("contentfilter", 400),
    ("contentpolicy", 400),
)
"""What a ``code`` or ``type`` means as a status, if it holds this, without its underscores and in lower case."""

_BUSY = frozenset({429, 503})
_RETRIED = frozenset({429, 500, 502, 503, 504, OVERLOADED})
"""Statuses that say that this replica has failed or is full, and nothing of another one."""

_VAGUE = frozenset({403, 500, 502})
"""Statuses that engines also use for quotas and overload; then the error's own words count."""

_DEAD = "EngineCore encountered an issue."
"""How the message begins of a vLLM's server whose core has died."""

_NUMBER = re.compile(r"[1-9]\d\d")

_READ = frozenset({"message", "detail", "type", "param", "code"})


class _Nested(msgspec.Struct):
    """An error object within another object, with the values of its fields as they came."""

    error: dict[str, Raw]


_ANYTHING = msgspec.json.Decoder()
_NESTED = msgspec.json.Decoder(_Nested)


class _Said(msgspec.Struct):
    """What was found in an engine's error."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    """Where ``code`` is a number, as vLLM has it in the events of its streams."""
    details: Mapping[str, Raw] = {}


def from_response(status: int, body: bytes) -> GatewayError:
    """Turn the body of an engine's error response into the error that its client gets."""
    return _error(status, _read(body))


def from_event(data: bytes, *, overloaded: int = 503) -> GatewayError:
    """Turn the data of an error event, or the error object in it, into the error that its client gets.

    The status is what ``code`` says as a number, or what the error's words mean; 500 where they mean nothing.
    ``overloaded`` is the dialect's status for an engine that is overloaded.
    """
    said = _read(data)
    status = said.status or _meaning(said) or 500
    error = _error(status, said)
    if error.status == 503:
        error.status = overloaded
    return error


def says_that_it_is_dead(error: GatewayError) -> bool:
    """Whether a vLLM says that its core has died (its ``EngineDeadError``), after which its server ends too."""
    return error.source is Source.ENGINE and error.message.startswith(_DEAD)


def _error(status: int, said: _Said) -> GatewayError:
    if status in _VAGUE and (meant := _meaning(said)) in _BUSY:
        assert meant is not None
        status = meant
    message = said.message or f"The engine answered {status} without saying why."
    kind = said.type if said.type is not None and _TYPE.fullmatch(said.type) else None
    code, param = said.code, said.param
    error: GatewayError
    if status in (401, 403, 407):
        # What the engine says of them is not for the client.
        said = _Said()
        error = UpstreamFailed(
            "The engine refused the gateway's own credentials; the operator must check api_key_env of this model."
        )
    elif status == 429:
        error = RateLimited(message, kind=kind, code=code, param=param)
    elif status in (503, OVERLOADED):
        error = Unavailable(message, kind=kind, code=code, param=param)
        error.status = status
    elif status == 504:
        error = UpstreamTimeout(message, kind=kind, code=code, param=param)
    elif status >= 500 and status != 501:
        error = UpstreamFailed(message, kind=kind, code=code, param=param)
    else:
        if code is None and "maximum context length" in message:
            code = "context_length_exceeded"
        error = EngineRefusal(status, message, kind=kind, code=code, param=param)
    error.source = Source.ENGINE
    error.retry = Retry.YES if status in _RETRIED else Retry.NO
    error.details = said.details
    return error


def _meaning(said: _Said) -> int | None:
    """Give the status that an error's words mean: first its code's, then its type's."""
    for word in (said.code, said.type):
        if word is not None:
            plain = word.replace("_", "").replace(" ", "").lower()
            for part, status in _MEANINGS:
                if part in plain:
                    return status
    return None


def _read(body: bytes) -> _Said:
    """Find message, type, code and field in the body of an engine's error, of any shape."""
    try:
        decoded = _ANYTHING.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Said(body[:300].decode("utf-8", "replace").strip())
    if isinstance(decoded, list) and decoded and isinstance(decoded[0], dict):
        decoded = decoded[0]
    if not isinstance(decoded, dict):
        return _Said(str(decoded)[:300])
    error = decoded.get("error", decoded)
    if isinstance(error, str):
        return _Said(error)
    if not isinstance(error, dict):
        return _Said()
    message = error.get("message") or error.get("detail") or ""
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    if isinstance(code, str) and _NUMBER.fullmatch(code):
        code = int(code)
    return _Said(
        message if isinstance(message, str) else msgspec.json.encode(message).decode(),
        # An event that is an error says only that.
        kind if isinstance(kind, str) and kind != "error" else None,
        code if isinstance(code, str) and code else None,
        param if isinstance(param, str) else None,
        code if isinstance(code, int) and 400 <= code <= 599 else None,
        _details(body),
    )


def _details(body: bytes) -> Mapping[str, Raw]:
    """Give those fields of a nested error object that have no place in OpenAI's."""
    try:
        fields = _NESTED.decode(body).error
    except msgspec.ValidationError:
        return {}
    return {name: value for name, value in fields.items() if name not in _READ}
