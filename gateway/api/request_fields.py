"""The few fields of a request's body that the gateway acts on; all others stay the bytes that they are."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, utf_8_decode
from collections.abc import Mapping
from itertools import accumulate

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.core.context import RequestContext
from gateway.core.errors import BadRequest, UnsupportedCoding, UnsupportedMediaType
from gateway.http.request_head import UNCODED, tokens
from gateway.pools.policies.prompt_blocks import PromptFields

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = tuple({ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}.get(byte, 0) for byte in range(256))
_BACKSLASH = ord("\\")
_SHORT_BODY = 32 * 1024
"""Below this size, in bytes, a copy of a body takes less time than a few calls."""
_SLICE_BYTES = 64 * 1024
"""How much of a body is decoded at once: as text it may need four times the memory."""
_MAX_CONTAINERS = 1_000_000
_MAX_QUOTES = 2_000_000
_MAX_TOKENS = 1_000_000_000
_MAX_TOGETHER = 1_000_000_000_000
"""Most tokens that the responses to many prompts are counted as, so that sums of them stay 64 bits."""
_SEVERAL_PROMPTS = re.compile(rb'\[\s*["\[]')
"""How a list of prompts begins, as text or as token ids; a list of numbers is one prompt."""
_AT = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<where>[^`]*)`$", re.DOTALL)


ASKS_USAGE = b',"stream_options":{"include_usage":true}}'
"""The end of a body that asks for its stream's usage on the gateway's behalf."""

UNSET_FIELD = Raw(b"")
"""What stands for a field that is not there, where any value will do; no value is empty."""


class StreamOptions(msgspec.Struct, gc=False):
    """The part of ``stream_options`` that decides whether the client gets the usage event."""

    include_usage: bool | None = None


class RequestFields(PromptFields, gc=False):
    """What the gateway reads of a body. Unset and ``null`` are told apart where the difference matters."""

    stream: bool | None = None
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: int | float | None = None
    max_completion_tokens: int | float | None = None
    max_output_tokens: int | float | None = None
    n: int | None = None
    priority: Raw = UNSET_FIELD
    kv_transfer_params: Raw = UNSET_FIELD
    explain: Raw = UNSET_FIELD

    @property
    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of its stream by itself."""
        options = self.stream_options
        return isinstance(options, StreamOptions) and options.include_usage is True

    def token_limit(self, longest: int | None = None) -> int:
        """Most tokens that the responses to all of its prompts may have, 0 if the request does not say.

        None is longer than the model's context, whatever is asked for; ``longest`` is that, where it is known.
        """
        limit = self.max_completion_tokens or self.max_tokens or self.max_output_tokens or 0
        if not 0 <= limit <= _MAX_TOKENS:
            limit = _MAX_TOKENS if limit > 0 else 0
        if longest is not None and limit > longest:
            limit = longest
        if self.n is not None and self.n > 1:
            limit *= min(self.n, _MAX_TOKENS)
        if self.prompt and _SEVERAL_PROMPTS.match(self.prompt):
            limit = min(limit * len(_LIST.decode(self.prompt)), _MAX_TOGETHER)
        return limit if isinstance(limit, int) else int(limit)


_FLAGS: Mapping[str | int | float, bool] = {
    **dict.fromkeys((1, "1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys((0, "0", "off", "f", "false", "n", "no"), False),
}
"""What pydantic takes for a flag, besides ``true`` and ``false``."""

_NUMBERS = ("n", "max_tokens", "max_completion_tokens", "max_output_tokens")

_DECODER = msgspec.json.Decoder(RequestFields)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])


def check_media(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body that is said to be anything but plain JSON. Raises ``UnsupportedMediaType``."""
    media = headers.get(b"content-type")
    if media is not None and not is_json(media):
        raise UnsupportedMediaType(
            f"This endpoint reads application/json, not {media[:100].decode('latin-1')!r}; set the header content-type."
        )
    check_coding(headers)


def check_coding(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body that is compressed. Raises ``UnsupportedCoding``."""
    coding = headers.get(b"content-encoding")
    if coding is not None and not tokens(coding) <= UNCODED:
        raise UnsupportedCoding("Compressed bodies are not read here; send the body without a content-encoding.")


def read(context: RequestContext, max_depth: int) -> RequestFields:
    """Decode the fields of a request's JSON body. Raises ``BadRequest`` naming the field.

    A byte order mark in front of the body is left out of it: not every engine knows one.
    """
    body = context.body
    if not body:
        raise empty_body()
    # A body cannot be nested deeper than it has opening brackets, which settles most requests.
    if len(body) < _SHORT_BODY:
        opening = 2 * len(body) - len(body.replace(b"[", b"")) - len(body.replace(b"{", b""))
    else:
        opening = _count(body, b"[", max_depth) + _count(body, b"{", max_depth)
    if opening > max_depth:
        _check_depth(body, max_depth)
    try:
        try:
            fields = _DECODER.decode(body)
        except msgspec.ValidationError:
            fields = _decode_leniently(body)
        # The decoder has found no more of the other fields than where they end.
        if not body.isascii():
            _check_utf8(body)
    except msgspec.ValidationError as error:
        match = _AT.match(str(error))
        what, where = (match["what"], match["where"]) if match else (str(error), "")
        raise BadRequest(f"{where or 'The body'}: {what}.", param=where or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if body.startswith(BOM_UTF8) and not body.startswith(BOM_UTF8, len(BOM_UTF8)):
            context.body = body.removeprefix(BOM_UTF8)
            return read(context, max_depth)
        raise BadRequest(f"The body is not valid JSON: {error}.", code="malformed_json") from None
    except RecursionError:
        raise too_deep(max_depth) from None
    return fields


def _decode_leniently(body: bytes) -> RequestFields:
    """Decode the fields as pydantic does, and with it vLLM: a flag may be a word, and a number a text."""
    given = _OBJECT.decode(body)
    known: dict[str, object] = {name: given[name] for name in RequestFields.__struct_fields__ if name in given}
    for name in known:
        if name == "stream":
            known[name] = _flag_in(given[name])
        elif name == "stream_options":
            known[name] = _with_flag(given[name], "include_usage")
        elif name in _NUMBERS:
            known[name] = _as_number(given[name])
    # What still is of a wrong type is refused by its name.
    return _DECODER.decode(msgspec.json.encode(known))


def _flag_in(value: Raw) -> Raw | bool:
    """Read a flag; what is none stays as it is."""
    flag = as_flag(msgspec.json.decode(value))
    return value if flag is None else flag


def _with_flag(value: Raw, name: str) -> Raw | dict[str, Raw | bool]:
    """Read a flag in an object; what is no object stays as it is."""
    try:
        fields = _OBJECT.decode(value)
    except msgspec.ValidationError:
        return value
    return {each: _flag_in(flag) if each == name else flag for each, flag in fields.items()}


def _as_number(value: Raw) -> Raw | int:
    """Read a whole number; what is none stays as it is."""
    decoded = msgspec.json.decode(value)
    if type(decoded) is int:  # As a float, a large one would not stay the same.
        return value
    try:
        number = float(decoded)
    except (TypeError, ValueError, OverflowError):
        return value
    return int(number) if number.is_integer() else value


def _check_utf8(body: bytes) -> None:
    """Refuse a body that is not UTF-8, wherever that is. Raises ``BadRequest`` with the place."""
    at = 0
    while at < len(body):
        rest = body[at : at + _SLICE_BYTES]
        try:
            at += utf_8_decode(rest, "strict", at + len(rest) == len(body))[1]
        except UnicodeDecodeError as error:
            raise BadRequest(f"The body is not valid UTF-8 (byte {at + error.start}).", code="malformed_json") from None


def is_json(media: bytes) -> bool:
    """Whether a ``content-type`` says JSON."""
    if media == b"application/json":
        return True
    essence = media.partition(b";")[0].strip().lower()
    return essence == b"application/json" or essence.endswith(b"+json")


def _check_depth(body: bytes, max_depth: int) -> None:
    """Refuse JSON nested deeper than ``max_depth``, before any decoder recurses into it. Raises ``BadRequest``.

    The brackets outside strings are added up. A million containers are refused too, for the time they cost, and so are
    a million strings among many brackets.
    """
    if _BACKSLASH in body:
        # Without the escaped backslashes, a quote behind a backslash is one within a string.
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    pieces = body.split(b'"', _MAX_QUOTES + 1)
    if len(pieces) > _MAX_QUOTES + 1:
        raise BadRequest(f"The body has more than {_MAX_QUOTES} quotes.", code="too_complex")
    # Every other piece is a string, the last of which may have no end.
    brackets = b"".join(pieces[::2]).translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * _MAX_CONTAINERS:
        raise BadRequest(f"The body has more than {_MAX_CONTAINERS} arrays and objects.", code="too_complex")
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > max_depth:
        raise too_deep(max_depth)


def _count(body: bytes, bracket: bytes, most: int) -> int:
    """Count a bracket, but only as far as one more than ``most``.

    In prose brackets are far apart, and ``bytes.find`` goes from one to the next more than ten times as fast as
    ``bytes.count``; so does ``bytes.replace``, whose copy is what a long body is spared here.
    """
    number = at = 0
    while number <= most and (at := body.find(bracket, at) + 1):
        number += 1
    return number


def empty_body() -> BadRequest:
    """Give the error for a request without a body."""
    return BadRequest("The body is empty; send a JSON object.", code="empty_body")


def too_deep(max_depth: int) -> BadRequest:
    """Give the error for a body that is nested too deep."""
    return BadRequest(f"The body is nested deeper than {max_depth} levels (limits.max_json_depth).", code="too_deep")


def with_usage(body: bytes, facts: RequestFields) -> bytes:
    """Ask for usage in a stream whose client did not, by one more field behind the others."""
    if facts.stream_options is UNSET:
        return body.rstrip()[:-1] + ASKS_USAGE
    fields = _OBJECT.decode(body)
    options = {} if facts.stream_options is None else _OBJECT.decode(fields["stream_options"])
    options["include_usage"] = Raw(b"true")
    options.pop("continuous_usage_stats", None)  # It has no effect without include_usage, which the client did not set.
    return rewritten(body, {"stream_options": msgspec.json.encode(options)})


def priority_in(value: Raw) -> int:
    """Read the field ``priority``: a whole number, or nothing. Raises ``BadRequest``."""
    try:
        return msgspec.json.decode(value, type=int | None) or 0
    except msgspec.DecodeError:
        raise BadRequest("priority: expected a whole number, lower ones come first.", param="priority") from None


def check_unexplained(explain: Raw, model: str) -> None:
    """Refuse to ask an engine for reasons that does not know the field ``explain``. Raises ``BadRequest``.

    It would answer without them, as if there were none.
    """
    if msgspec.json.decode(explain) not in (None, False):
        raise BadRequest(
            f"The engine of the model {model!r} does not explain its classes; ONNX classifiers do.",
            param="explain",
            code="unsupported_parameter",
        )


def as_flag(value: object) -> bool | None:
    """Read a flag as pydantic does: as itself, as 1 or 0, or by a word; ``None`` if it is none."""
    if isinstance(value, str):
        value = value.strip().lower()
    return _FLAGS.get(value) if isinstance(value, str | int | float) else None


def encode(value: str) -> bytes:
    """Write a string as JSON."""
    return msgspec.json.encode(value)


def rewritten(body: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """Replace or, with ``None``, remove fields of a JSON object; every other value keeps its bytes."""
    fields = _OBJECT.decode(body)
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = Raw(value)
    return msgspec.json.encode(fields)
