"""The Uploads API, as the official SDK uses it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.kit.gateways import RunningGateway, gateway, remote

CONTENT = bytes(range(256)) * 4_000


@asynccontextmanager
async def serving(tmp_path: Path, **files: Any) -> AsyncIterator[tuple[RunningGateway, openai.AsyncOpenAI]]:
    settings = {"folder": str(tmp_path / "f"), **files}
    async with (
        gateway({"m": remote("http://127.0.0.1:1")}, ready=[], files=settings) as running,
        openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key="x", max_retries=0) as api,
    ):
        yield running, api


async def test_a_file_in_chunks(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    async with serving(tmp_path) as (_, api):
        upload = await api.uploads.upload_file_chunked(
            file=tmp_path / "a.bin",
            mime_type="text/plain",
            purpose="assistants",
            part_size=300_000,
            md5=hashlib.md5(CONTENT).hexdigest(),
        )
        assert (upload.status, upload.bytes, upload.object) == ("completed", len(CONTENT), "upload")
        file = upload.file
        assert file is not None
        assert (file.filename, file.purpose, file.bytes) == ("a.bin", "assistants", len(CONTENT))
        assert (await api.files.content(file.id)).content == CONTENT
        assert [each.id async for each in api.files.list()] == [file.id]


async def test_an_upload_step_by_step(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, api):
        expires: Any = {"anchor": "created_at", "seconds": 7200}
        upload = await api.uploads.create(
            bytes=6, filename="a", mime_type="text/plain", purpose="evals", expires_after=expires
        )
        assert (upload.status, upload.file, upload.expires_at - upload.created_at) == ("pending", None, 3600)
        parts = [await api.uploads.parts.create(upload.id, data=data) for data in (b"def", b"abc")]
        assert all((part.object, part.upload_id) == ("upload.part", upload.id) for part in parts)
        with pytest.raises(openai.BadRequestError) as refused:
            await api.uploads.complete(upload.id, part_ids=[parts[0].id])
        assert refused.value.param == "part_ids"
        done = await api.uploads.complete(upload.id, part_ids=[parts[1].id, parts[0].id])
        assert done.file is not None
        assert done.file.expires_at == done.file.created_at + 7200
        assert (await api.files.content(done.file.id)).content == b"abcdef"
        with pytest.raises(openai.BadRequestError, match="is completed") as over:
            await api.uploads.parts.create(upload.id, data=b"x")
        assert over.value.code == "upload_not_pending"


async def test_an_upload_is_cancelled(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, api):
        upload = await api.uploads.create(bytes=3, filename="a", mime_type="text/plain", purpose="evals")
        part = await api.uploads.parts.create(upload.id, data=b"abc")
        assert (await api.uploads.cancel(upload.id)).status == "cancelled"
        for act in (api.uploads.cancel(upload.id), api.uploads.complete(upload.id, part_ids=[part.id])):
            with pytest.raises(openai.BadRequestError, match="is cancelled"):
                await act
        assert not list((tmp_path / "f" / "parts").iterdir())
        with pytest.raises(openai.NotFoundError):
            await api.uploads.cancel("upload_none")


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"bytes": "6"}, 400, "bytes"),
        ({"bytes": -1}, 400, "bytes"),
        ({"bytes": 1_001}, 413, "bytes"),
        ({"filename": ""}, 400, "filename"),
        ({"purpose": "batch_output"}, 400, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, 400, "expires_after[seconds]"),
        ({"expires_after": {"anchor": "created_at"}}, 400, "expires_after.seconds"),
    ],
)
async def test_an_upload_that_cannot_be_created(
    tmp_path: Path, change: dict[str, Any], status: int, param: str
) -> None:
    asked = {"bytes": 6, "filename": "a", "mime_type": "text/plain", "purpose": "evals"} | change
    async with serving(tmp_path, max_upload_bytes=1_000) as (running, _), httpx.AsyncClient() as http:
        answer = await http.post(f"{running.address}/v1/uploads", json=asked)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"bytes": 1}', b"\xff"])
async def test_a_body_that_is_no_upload(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as (running, _), httpx.AsyncClient() as http:
        answer = await http.post(f"{running.address}/v1/uploads", content=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_part_may_have_64_mebibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.local.uploads.PART_BYTES", 1_000)
    async with serving(tmp_path) as (_, api):
        upload = await api.uploads.create(bytes=2_000, filename="a", mime_type="text/plain", purpose="evals")
        await api.uploads.parts.create(upload.id, data=bytes(1_000))
        for size in (1_001, 100_000):
            with pytest.raises(openai.APIStatusError, match="the limit of a part") as refused:
                await api.uploads.parts.create(upload.id, data=bytes(size))
            assert refused.value.status_code == 413
