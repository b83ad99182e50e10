"""A JSON body of a local route is decoded, or refused with the field that is amiss."""

from __future__ import annotations

import msgspec
import pytest

from gateway.api.local.json_body import decoded
from gateway.api.local.route import LocalRequest
from gateway.core.context import RequestHead
from gateway.core.errors import BadRequest, UnsupportedMediaType


class Thing(msgspec.Struct):
    name: str


def request(body: bytes, media: bytes = b"application/json") -> LocalRequest:
    return LocalRequest(RequestHead("", headers={b"content-type": media}), "", body)


def test_a_good_body_is_decoded() -> None:
    assert decoded(request(b'{"name":"a","more":1}'), Thing) == Thing("a")


@pytest.mark.parametrize(("body", "code", "param"), [(b'{"name":1}', None, "name"), (b"{", "malformed_json", None)])
def test_a_bad_body_is_refused(body: bytes, code: str | None, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        decoded(request(body), Thing)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_another_media_type_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        decoded(request(b"{}", b"text/plain"), Thing)
