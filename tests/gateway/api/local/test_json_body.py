"""A JSON body of a local route is decoded, or refused with the field that is amiss."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from gateway.api.local.json_body import decoded
from gateway.api.local.route import LocalRequest
from gateway.core.context import RequestHead
from gateway.core.errors import BadRequest, UnsupportedMediaType


class Part(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    kind: int | Literal["auto", "none"] = "auto"


class Thing(msgspec.Struct):
    name: str
    part: Part | None = None
    labels: dict[str, Annotated[str, Meta(max_length=3)]] = {}


def request(body: bytes, media: bytes = b"application/json") -> LocalRequest:
    return LocalRequest(RequestHead("", headers={b"content-type": media}), "", body)


def test_a_good_body_is_decoded() -> None:
    assert decoded(request(b'{"name":"a","more":1}'), Thing) == Thing("a")


def test_a_byte_order_mark_is_no_part_of_it() -> None:
    assert decoded(request(b'\xef\xbb\xbf{"name":"a"}'), Thing) == Thing("a")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "malformed_json", None),
        (b"[]", None, None),
        (b"{}", None, "name"),
        (b'{"name":1}', None, "name"),
        (b'{"name":"a","part":5}', None, "part"),
        (b'{"name":"a","part":{}}', None, "part.size"),
        (b'{"name":"a","part":{"size":"1"}}', None, "part.size"),
        (b'{"name":"a","part":{"size":1,"length":2}}', None, "part.length"),
        (b'{"name":"a","labels":{"b":"long"}}', None, "labels[...]"),
        (b"", "empty_body", None),
        (b'{"name":"a","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep", None),
    ],
)
def test_a_bad_body_is_refused(body: bytes, code: str | None, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        decoded(request(body), Thing)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_the_words_that_a_field_may_be_are_told() -> None:
    with pytest.raises(BadRequest, match=r"'some' - at `.*`; of words it may be auto, none") as refused:
        decoded(request(b'{"name":"a","part":{"size":1,"kind":"some"}}'), Thing)
    assert refused.value.param == "part.kind"


def test_another_media_type_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        decoded(request(b"{}", b"text/plain"), Thing)
