"""Whether a fine-tuning job ends right whatever is killed, and whenever: its training, its server, or the gateway.

Each round orders a job of the default embedder, kills one process with SIGKILL at a random moment of it, and waits for
its end. Then the model must be listed once, answer rightly, and have its result file, and the examples must be as they
were uploaded; at last it is deleted.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from loadtest.bench.faults.serving import ServedGateway, serving
from loadtest.bench.faults.tuning_job import BASE, EXAMPLES, JOBS, configuration, json_of, order
from loadtest.bench.process_usage import tree
from loadtest.http_client import HttpClient

_SHIM = "shim.py"
"""It starts each process of an engine, with the words of that in its own command."""

VICTIMS: Mapping[str, str] = {"training": "engines.train", "server": "engines.tuning", "gateway": ""}
"""What is killed, and the module that its process runs."""

_ENDED = ("succeeded", "failed", "cancelled")
_POLL_SECONDS = 0.1
_PATIENCE = 300.0
"""Seconds within which a job must have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSettings:
    """How many jobs are disturbed, and how long each trains at most, in seconds."""

    kills: int = 20
    time_budget: float = 5.0
    seed: int = 1


async def measure(log: Callable[[str], None], settings: KillSettings | None = None) -> Mapping[str, Any]:
    """Disturb one job after the other, and say what was wrong with any."""
    settings = settings or KillSettings()
    draw = random.Random(settings.seed)  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as folder:
        async with AsyncExitStack() as stack:
            place = _Place(Path(folder), stack)
            await place.start()
            usual, wrong = await _round(place, settings, None)
            log(f"undisturbed: {usual:.1f} s{''.join(f'; {each}' for each in wrong)}")
            seconds: list[float] = []
            killed = dict.fromkeys(VICTIMS, 0)
            for number in range(settings.kills):
                victim, after = list(VICTIMS)[number % len(VICTIMS)], draw.uniform(0.0, usual)
                took, found = await _round(place, settings, Kill(victim, after, killed))
                seconds.append(took)
                wrong += [f"{victim} killed after {after:.1f} s: {each}" for each in found]
                log(f"{number + 1}. {victim} killed after {after:.1f} s: ended after {took:.1f} s; {found or 'right'}")
    return {
        "kills": sum(killed.values()),
        "killed": killed,
        "wrong": wrong,
        "undisturbed_seconds": round(usual, 1),
        "longest_seconds": round(max(seconds, default=0.0), 1),
    }


class _Place:
    """A gateway that may be killed, and the next one with the same folders."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.gateway: ServedGateway
        self.client: HttpClient

    async def start(self) -> None:
        """Start a gateway."""
        self.gateway = await self._stack.enter_async_context(serving(configuration(self.folder, BASE)))
        self.client = await self._stack.enter_async_context(HttpClient(self.gateway.address, timeout=60.0))


class Kill:
    """One process to be killed so many seconds after a job was ordered; ``killed`` counts what was, by its name.

    Where a training or its server does not run at that moment, the gateway is killed.
    """

    def __init__(self, victim: str, after: float, killed: dict[str, int]) -> None:
        self._victim = victim
        self._after = after
        self._killed = killed

    async def strike(self, place: _Place) -> None:
        """Wait for the moment, and kill; after a gateway start the next one."""
        await asyncio.sleep(self._after)
        pid = process_of(place.gateway.pid, VICTIMS[self._victim]) or place.gateway.pid
        name = self._victim if pid != place.gateway.pid else "gateway"
        self._killed[name] += 1
        os.kill(pid, signal.SIGKILL)
        if name == "gateway":
            await place.start()


def process_of(pid: int, module: str) -> int | None:
    """Find the process that runs a module among those that a gateway has started."""
    for each in tree(pid):
        try:
            command = Path(f"/proc/{each}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # It has ended meanwhile.
        if module in command and not any(word.endswith(_SHIM) for word in command):
            return each
    return None


async def _round(place: _Place, settings: KillSettings, kill: Kill | None) -> tuple[float, list[str]]:
    """Order a job and let it be disturbed; return after how many seconds it ended, and what was wrong."""
    job = await order(place.client, time_budget=settings.time_budget)
    began = perf_counter()
    if kill is not None:
        await kill.strike(place)
    try:
        async with asyncio.timeout(_PATIENCE):
            ended = await _end_of(place.client, job["id"])
    except TimeoutError:
        return perf_counter() - began, [f"not ended after {_PATIENCE:.0f} s"]
    seconds = perf_counter() - began
    if ended["status"] != "succeeded":
        return seconds, [f"{ended['status']}: {ended['error']}"]
    return seconds, await _wrong(place, ended)


async def _end_of(client: HttpClient, job_id: str) -> Mapping[str, Any]:
    while True:
        response = await client.get(f"{JOBS}/{job_id}")
        # The tuning server that was killed is away for a moment, which is said with a 503.
        if response.status != 503:
            job: Mapping[str, Any] = msgspec.json.decode(response.body)
            if job["status"] in _ENDED:
                return job
        await asyncio.sleep(_POLL_SECONDS)


async def _wrong(place: _Place, job: Mapping[str, Any]) -> list[str]:
    """Say what is not as it should be after a job that has succeeded, and delete its model."""
    client, name, wrong = place.client, job["fine_tuned_model"], []
    listed = [each["id"] for each in (await json_of(client.get("/v1/models")))["data"]]
    if listed.count(name) != 1:
        wrong.append(f"listed {listed.count(name)} times")
    asked = msgspec.json.encode({"model": name, "input": "please block my card"})
    answer = (await json_of(client.post("/classify", asked)))["data"][0]["label"]
    if answer != "card":
        wrong.append(f"answers {answer}")
    if (await client.get(f"/v1/files/{job['training_file']}/content")).body != EXAMPLES:
        wrong.append("the examples are not what was uploaded")
    (result,) = job["result_files"]
    if not (await client.get(f"/v1/files/{result}/content")).body.startswith(b"step,"):
        wrong.append("the result file is none")
    await json_of(client.delete(f"/v1/models/{name}"))
    left = sorted(file.name for file in (place.folder / "tuning" / "models").iterdir())
    if left:
        wrong.append(f"still there when it was deleted: {', '.join(left)}")
    return wrong
