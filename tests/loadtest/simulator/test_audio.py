"""Multipart forms come through with every byte of their files."""

import hashlib

import pytest

from loadtest.simulator.audio import form
from loadtest.simulator.errors import EngineError
from tests.kit.wire import Wire

FILE = bytes(range(256)) * 300 + b"\r\n--other\r\n\r\n--"
BODY = (
    b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nsim\r\n'
    b'--b0\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    + FILE
    + b"\r\n--b0--\r\n"
)
TYPE = {"content-type": "multipart/form-data; boundary=b0"}


async def test_a_transcription_tells_size_and_digest_of_the_file(wire: Wire) -> None:
    await wire.request("POST", "/v1/audio/transcriptions", BODY, TYPE)
    digest = hashlib.sha256(FILE).hexdigest()
    assert (await wire.response()).json == {
        "text": f"{len(FILE)} bytes, sha256 {digest}",
        "usage": {"type": "duration", "seconds": 3},
    }


async def test_a_translation_tells_it_without_usage(wire: Wire) -> None:
    await wire.request("POST", "/v1/audio/translations", BODY, TYPE)
    assert list((await wire.response()).json) == ["text"]


async def test_another_model_does_not_exist(wire: Wire) -> None:
    await wire.request("POST", "/v1/audio/transcriptions", BODY.replace(b"sim", b"other"), TYPE)
    assert (await wire.response()).status == 404


def test_fields_of_a_form() -> None:
    assert form(BODY, 'multipart/form-data; boundary="b0"') == {"model": b"sim", "file": FILE}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (BODY, "multipart/form-data"),
        (BODY[:-20], TYPE["content-type"]),
        (b"", TYPE["content-type"]),
        (b"", ""),
    ],
)
def test_what_is_no_whole_form_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(EngineError):
        form(body, content_type)
