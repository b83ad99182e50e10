"""An engine that dies is started again, the others serve meanwhile; and no engine outlives its gateway."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import HANGING_SECONDS, ROOT, Served, serving
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow

EMBED = {"model": "minilm", "input": "The gate at the head of the channel"}
CLASSIFY = {"model": "prompt-guard", "input": "Good morning"}


def pid_of(served: Served, model: str) -> int:
    """Find the engine of a model by the socket in its command line."""
    replicas: Any = served.status()[model]["replicas"]
    socket = replicas[0]["address"].removeprefix("unix:")
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")
        except OSError:
            continue  # It has ended meanwhile.
        if (
            socket.encode() in words
            and b"engines.onnx" in words
            and not any(word.endswith(b"shim.py") for word in words)
        ):
            return int(command.parent.name)
    raise AssertionError(f"no process serves {socket}")


async def ask(served: Served, path: str, body: object) -> int:
    async with await Wire.connect_to(served.address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", path, body)
        return (await wire.response()).status


async def test_a_killed_engine_comes_back_and_the_others_serve_meanwhile(served: Served) -> None:
    os.kill(pid_of(served, "minilm"), signal.SIGKILL)
    async with asyncio.timeout(HANGING_SECONDS):
        held = [asyncio.create_task(ask(served, "/v1/embeddings", EMBED)) for _ in range(5)]
        while not all(task.done() for task in held):
            assert await ask(served, "/classify", CLASSIFY) == 200
            await asyncio.sleep(0.05)
        assert [await task for task in held] == [200] * 5


def test_no_engine_outlives_a_gateway_that_is_killed(tmp_path: Path) -> None:
    without_vllm = "[models.prompt-guard]" + (ROOT / "models.toml").read_text().split("[models.prompt-guard]")[1]
    (tmp_path / "models.toml").write_text(without_vllm)
    with serving(tmp_path / "models.toml") as served:
        engines = [os.pidfd_open(pid_of(served, model)) for model in ("prompt-guard", "minilm")]
        served.process.kill()
        served.process.wait()
        for engine in engines:
            readable, _, _ = select.select([engine], [], [], HANGING_SECONDS)
            os.close(engine)
            assert readable, f"an engine was still there {HANGING_SECONDS} s after its gateway was killed"
