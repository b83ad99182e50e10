"""A batch survives its gateway: killed at any moment, it is gone on with, and each line has one answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter
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


async def killed(*pids: int) -> None:
    """Kill processes, and wait until they do nothing more."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while any(map(lives, pids)):  # noqa: ASYNC110 - their parent alone is told
            await asyncio.sleep(0.001)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def asked_of(engine: SimulatedEngine) -> Counter[str]:
    """Count how often the engine was asked each line."""
    bodies = (json.loads(each.body) for each in engine.requests if each.path == CHAT)
    return Counter(body["messages"][0]["content"].replace("Hi ", "line-") for body in bodies)


def answered_in(folder: Path, batch: str) -> set[str]:
    """Read which lines have a whole result."""
    *whole, _cut = (folder / "files" / "batches" / batch / "output.jsonl").read_bytes().split(b"\n")
    return {json.loads(each)["custom_id"] for each in whole}


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_killed_gateway_goes_on_where_it_was(tmp_path: Path, processes: int) -> None:
    async with SimulatedEngine(uds=tmp_path / "sim.sock", timing=Timing(ttft=0.02), recorded=10_000) as engine:
        async with serving(tmp_path, engine.address, processes) as (api, process):
            batch = await begin(api, jsonl([line(n) for n in range(LINES)]))
            await engine.until(lambda each: asked_of(each).total() >= LINES // 3)
            # Where there are several, another takes over from the one that ran the batch, and the gateway goes on.
            await killed(*(children(process.pid) if processes > 1 else [process.pid]))
            answered = answered_in(tmp_path, batch.id)
            if processes > 1:
                batch = await ended(api, batch)
        if processes == 1:
            async with serving(tmp_path, engine.address, processes) as (api, _):
                batch = await ended(api, batch)
                found = await results(api, batch.output_file_id)
            assert set(found) == {f"line-{n}" for n in range(LINES)}
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.completed == LINES
        asked = asked_of(engine)
        assert asked.keys() == {f"line-{n}" for n in range(LINES)}
        # Only what had no answer yet is asked twice, and nothing more often.
        assert answered
        assert not answered & {line for line, times in asked.items() if times > 1}
        assert set(asked.values()) <= {1, 2}
