"""What the other clients feel while one of eight replicas takes requests and answers none: a black hole."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from loadtest import arrivals, workload
from loadtest.bench.cpu_affinity import AVAILABLE_CPUS
from loadtest.bench.launch import launched, python
from loadtest.http_client import HttpClient
from loadtest.load import Load
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import NO_FAULTS, Faults
from loadtest.summary import percentile

WAYS: Mapping[str, Faults] = {
    "none": NO_FAULTS,
    "answers /health": Faults(silent=True),
    "answers nothing": Faults(silent=True, also_get=True),
}
"""What is wrong with the first replica. All of them accept connections."""

_MODEL = "m"
_SERVES = re.compile(r"serves at (http://\S+) \(up after .*; metrics and probes at (http://\S+)\)")
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackHoleSettings:
    """How many replicas with so many places each, and under which share of what they can do."""

    replicas: int = 8
    places: int = 16
    load: float = 0.7
    tokens: int = 5
    first: float = 0.3
    """Seconds to the first token."""
    pace: float = 0.1
    """Seconds from one token to the next."""
    warm_seconds: float = 8.0
    seconds: float = 20.0
    rounds: int = 3

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.load * self.replicas * self.places / (self.first + (self.tokens - 1) * self.pace)


class _Line(msgspec.Struct):
    """What is read of a line of the access log."""

    time: datetime
    status: int
    duration_ms: float
    replica: str = ""
    attempts: int = 0
    ttft_ms: float | None = None


async def measure(log: Callable[[str], None], settings: BlackHoleSettings | None = None) -> Mapping[str, Any]:
    """Put the same load on the pool with and without a black hole in it, in turns, and compare what others saw."""
    settings = settings or BlackHoleSettings()
    runs: dict[str, list[Mapping[str, Any]]] = {way: [] for way in WAYS}
    for number in range(settings.rounds):
        for way, faults in WAYS.items():
            found = await _run(faults, settings, seed=number)
            log(f"round {number + 1}, black hole: {way}: {json.dumps(found)}")
            runs[way].append(found)
    medians = {way: _medians(found) for way, found in runs.items()}
    without = medians["none"]
    ratios = {
        way: {name: round(found[name] / without[name], 3) for name in ("p99_ttft_ms", "p99_e2e_ms")}
        for way, found in medians.items()
        if way != "none"
    }
    return {"rate": round(settings.rate, 1), "medians": medians, "others_against_none": ratios}


async def _run(faults: Faults, settings: BlackHoleSettings, seed: int) -> Mapping[str, Any]:
    """Put the load on once, with these faults at the first replica from the end of the warm-up on."""
    timing = Timing(ttft=settings.first, inter_token=settings.pace, max_num_seqs=settings.places)
    asked = [workload.chat(_MODEL, "Which hat should it wear?", settings.tokens, stream=True)]
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(SimulatedEngine(_MODEL, timing=timing, recorded=0))
            for _ in range(settings.replicas)
        ]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-bench-")))
        async with _serving(folder, [engine.address for engine in engines]) as (address, control):
            load = Load(address)
            try:
                await load.open_loop(asked, arrivals.poisson(settings.rate, settings.warm_seconds, seed))
                began = datetime.now(UTC)
                engines[0].faults = faults
                watching = asyncio.create_task(_seconds_until_ejected(control))
                await load.open_loop(asked, arrivals.poisson(settings.rate, settings.seconds, seed))
            finally:
                load.close()
            ejected_after = watching.result() if watching.done() else None
            watching.cancel()
            await asyncio.wait([watching])
            engines[0].faults = NO_FAULTS
        lines = msgspec.json.Decoder(_Line).decode_lines((folder / "access.jsonl").read_bytes())
    return figures([each for each in lines if begun(each) >= began], ejected_after)


def begun(line: _Line) -> datetime:
    """Tell when a request came."""
    return line.time - timedelta(milliseconds=line.duration_ms)


def figures(lines: Sequence[_Line], ejected_after: float | None) -> dict[str, Any]:
    """Sum up the requests that were at the other replicas alone, and say how many others there were."""
    others = [each for each in lines if each.attempts == 1 and each.status == 200 and each.replica != f"{_MODEL}-0"]
    moved = [each for each in lines if each.attempts > 1]
    return {
        "requests": len(lines),
        "failed": sum(each.status != 200 for each in lines),
        "p99_ttft_ms": round(percentile([each.ttft_ms for each in others if each.ttft_ms is not None], 99), 1),
        "p99_e2e_ms": round(percentile([each.duration_ms for each in others], 99), 1),
        "moved": len(moved),
        "longest_moved_ms": max((each.duration_ms for each in moved), default=0.0),
        "ejected_after_s": ejected_after,
    }


def _medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = [name for name, value in runs[0].items() if value is not None]
    return {name: median(run[name] for run in runs if run[name] is not None) for name in names}


@asynccontextmanager
async def _serving(folder: Path, urls: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
    """Run Headgate in front of these replicas, and yield its address and that of its control plane."""
    text = f'[gateway]\naccess_log = "{folder / "access.jsonl"}"\n[models.{_MODEL}]\nengine = "remote"\n'
    (folder / "models.toml").write_text(f"{text}urls = {json.dumps(list(urls))}\n")
    options = ["serve", "--config", str(folder / "models.toml"), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    async with launched(python("gateway", *options), frozenset(AVAILABLE_CPUS)) as process:
        serves = await process.until_written(_SERVES)
        yield serves[1], serves[2]


async def _seconds_until_ejected(control: str) -> float:
    """Wait until the first replica gets no requests any more."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with HttpClient(control) as client:
        while True:
            listed = json.loads((await client.get("/status")).body)["models"]
            if listed[0]["replicas"][0]["state"] != "ready":
                return round(loop.time() - began, 1)
            await asyncio.sleep(_POLL_SECONDS)
