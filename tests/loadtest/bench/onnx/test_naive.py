"""The naive server answers the same as the engine, only slowly."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from loadtest.bench.onnx.naive import main
from tests.engines.onnx.tiny import write_classifier, write_embedder
from tests.kit.eventually import PATIENCE
from tests.kit.wire import Wire

ROOT = Path(__file__).parent.parent.parent.parent.parent


@asynccontextmanager
async def served(folder: Path, task: str) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["-m", "loadtest.bench.onnx.naive", "--folder", str(folder), "--task", task, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, "--max-length", "16", cwd=ROOT)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@pytest.mark.slow
async def test_vectors_are_the_means_of_the_tokens_and_of_length_one(tmp_path: Path) -> None:
    async with served(write_embedder(tmp_path), "embed") as url, await Wire.connect_to(url) as wire:
        await wire.request("POST", "/v1/embeddings", {"model": "m", "input": ["cat", "good"]})
        data = (await wire.response()).json["data"]
    expected = np.array([0.5, 3, 4])
    assert data[0]["embedding"] == pytest.approx((expected / np.linalg.norm(expected)).tolist())
    assert data[1]["embedding"] == pytest.approx([1, 0, 0])


@pytest.mark.slow
async def test_a_classifiers_logits_are_as_they_are(tmp_path: Path) -> None:
    async with served(write_classifier(tmp_path), "classify") as url, await Wire.connect_to(url) as wire:
        await wire.request("POST", "/classify", {"model": "m", "input": "good good bad"})
        assert (await wire.response()).json["data"][0]["embedding"] == [4, 2]


def test_it_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--folder, --task, --port" in capsys.readouterr().err
