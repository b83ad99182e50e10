"""A batch survives its gateway: killed at any moment, it is gone on with, and each line has one answer."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from loadtest.bench.launch import Process, launched, python
from loadtest.simulator import SimulatedEngine, Timing
from tests.gateway.api.local.test_batches import CHAT, begin, ended, jsonl, line, results

pytestmark = pytest.mark.slow

SERVES = re.compile(r"serves at (http://\S+) \(up after")
LINES = 300


@asynccontextmanager
async def serving(folder: Path, engine: str, processes: int) -> AsyncIterator[tuple[openai.AsyncOpenAI, Process]]:
    """Run ``headgate serve``, with files in a folder that the next one finds again."""
    file = folder / "models.toml"
    file.write_text(
        f'[gateway]\naccess_log = "off"\nprocesses = {processes}\ndrain_timeout = 2\n'
        f'[gateway.files]\nfolder = "{folder / "files"}"\n'
        f'[models.sim]\nengine = "remote"\nurls = ["{engine}"]\n'
    )
    options = ["serve", "--config", str(file), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    async with launched(python("gateway", *options), frozenset(os.sched_getaffinity(0))) as process:
        address = (await process.until_written(SERVES))[1]
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="x", max_retries=5) as api:
            yield api, process


def children(pid: int) -> list[int]:
    """Give the data planes of a gateway with several processes, in their order."""
    task = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(int(child) for child in task if b"gateway.processes" in Path(f"/proc/{child}/cmdline").read_bytes())


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_killed_gateway_goes_on_where_it_was(tmp_path: Path, processes: int) -> None:
    async with SimulatedEngine(uds=tmp_path / "sim.sock", timing=Timing(ttft=0.02), recorded=10_000) as engine:
        async with serving(tmp_path, engine.address, processes) as (api, process):
            batch = await begin(api, jsonl([line(n) for n in range(LINES)]))
            await engine.until(lambda _: len([each for each in engine.requests if each.path == CHAT]) >= LINES // 3)
            if processes == 1:
                os.kill(process.pid, signal.SIGKILL)
            else:
                # Another process takes over from the one that ran the batch, and the gateway goes on.
                for child in children(process.pid):
                    os.kill(child, signal.SIGKILL)
                batch = await ended(api, batch)
        if processes == 1:
            async with serving(tmp_path, engine.address, processes) as (api, _):
                batch = await ended(api, batch)
                found = await results(api, batch.output_file_id)
            assert set(found) == {f"line-{n}" for n in range(LINES)}
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.completed == LINES
        asked = len([each for each in engine.requests if each.path == CHAT])
        # Only what was in flight is asked twice.
        assert LINES <= asked <= LINES + 64
