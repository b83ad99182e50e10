"""Commands ask the API with a key, and tell a refusal in its words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from gateway.cli.api_client import KEY, ApiClient, ApiError
from tests.kit.gateways import RunningGateway, gateway, remote


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    key = {"id": "me", "sha256": hashlib.sha256(b"secret").hexdigest()}
    async with gateway(
        {"m": remote("http://127.0.0.1:1")}, ready=(), keys=[key], files={"folder": tmp_path / "f"}
    ) as it:
        yield it


async def test_a_file_is_uploaded_as_it_is_and_deleted(
    running: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    file = tmp_path / 'a "b".txt'
    file.write_bytes(b"\r\n--\x00")
    client = ApiClient(f"{running.address}/v1")
    file_id = await asyncio.to_thread(client.upload, file, "user_data")
    async with AsyncOpenAI(base_url=f"{running.address}/v1", api_key="secret") as api:
        assert (await api.files.retrieve(file_id)).filename == "a b.txt"
        assert (await api.files.content(file_id)).content == b"\r\n--\x00"
        await asyncio.to_thread(client.delete, f"/v1/files/{file_id}")
        assert [file.id async for file in api.files.list()] == []


async def test_a_refusal_is_told_in_its_own_words(running: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ApiError, match="No API key was given") as refused:
        await asyncio.to_thread(ApiClient(running.address).get, "/v1/files")
    assert not refused.value.again


def test_a_gateway_that_does_not_answer_may_do_so_later() -> None:
    with pytest.raises(ApiError, match=r"No gateway answers at http://127\.0\.0\.1:1 \(--url\)") as refused:
        ApiClient("http://127.0.0.1:1").post("/v1/fine_tuning/jobs")
    assert refused.value.again
