"""What a batch costs the interactive requests beside it, and whether each of its lines is answered once.

Streams come at a steady rate to a simulated engine, at first alone and then beside a batch. When enough of them have
been measured, the gateway is killed in the middle of the batch and started again, and the results are compared with the
lines.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from loadtest import arrivals, workload
from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.faults.serving import serving
from loadtest.bench.launch import launched, python
from loadtest.http_client import HttpClient
from loadtest.load import Load
from loadtest.summary import percentile

MODEL, _ENDPOINT = "sim", "/v1/chat/completions"

MOST_ADDED = 1.1
"""How many times as long the p99 of the time to the first token may be beside a batch."""

_ENDED = ("completed", "failed", "expired", "cancelled")
_POLL_SECONDS = 0.2

_FORM = (
    b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n%b\r\n--x--\r\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How many lines, and how many streams a second beside them, for how long each time; of so many tokens each."""

    lines: int = 10_000
    rate: float = 10.0
    seconds: float = 30.0
    tokens: int = 32
    prompt_tokens: int = 50
    profile: str = "gpu-8b"
    speed: float = 1.0
    """How many times as fast the engine's machine is. The slower, the less what else runs here is in the figures."""
    limits: tuple[int, ...] = (64, 0)
    """The model's ``max_in_flight``, once each; 0 is none."""


async def measure(settings: BatchSettings, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure with each limit; ``failed`` counts streams that failed, and lines without exactly one result."""
    runs = []
    for limit in settings.limits:
        runs.append(await _run(settings, limit))
        log(f"batch: {runs[-1]}")
    failed = sum(run["failed"] + run["missing"] + run["repeated"] for run in runs)
    return {"settings": asdict(settings), "failed": failed, "runs": runs}


async def _run(settings: BatchSettings, limit: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-bench-")))
        options = ["--uds", str(folder / "sim.sock"), "--model", MODEL, "--profile", settings.profile]
        options += ["--speed", str(settings.speed)]
        await stack.enter_async_context(launched(python("loadtest.simulator", *options), load_and_gateway_cpus()[0]))
        text = _configuration(folder, limit)
        async with serving(text) as gateway:
            await gateway.until(MODEL, lambda replicas: any(each["ready"] for each in replicas))
            alone = await _streams(settings, gateway.address)
            async with HttpClient(gateway.address) as client:
                batch_id = await _begin(settings, client)
                await _until(client, batch_id, lambda batch: batch["request_counts"]["completed"] > 0)
                began, counts = perf_counter(), (await _batch(client, batch_id))["request_counts"]
                beside = await _streams(settings, gateway.address)
                seconds, before = perf_counter() - began, await _batch(client, batch_id)
            os.kill(gateway.pid, signal.SIGKILL)
        async with serving(text) as gateway, HttpClient(gateway.address, timeout=600.0) as client:
            restarted = await _batch(client, batch_id)
            batch = await _until(client, batch_id, lambda batch: batch["status"] in _ENDED)
            results = await _results(client, batch)
    done = before["request_counts"]["completed"] - counts["completed"]
    return {
        "max_in_flight": limit,
        "streams": alone["streams"] + beside["streams"],
        "failed": alone["failed"] + beside["failed"],
        "alone": alone,
        "beside": beside,
        "times": round(beside["ttft_p99_ms"] / alone["ttft_p99_ms"], 3),
        "lines_per_second": round(done / seconds, 1),
        "under_way_throughout": before["status"] == "in_progress",
        "killed_after": before["request_counts"]["completed"],
        "kept": restarted["request_counts"]["completed"],
        "status": batch["status"],
        "missing": sum(results.get(str(number), 0) == 0 for number in range(settings.lines)),
        "repeated": sum(number > 1 for number in results.values()),
    }


def _configuration(folder: Path, limit: int) -> str:
    lines = ["[gateway]", f'access_log = "{folder / "access.jsonl"}"', "[gateway.files]"]
    lines += [f'folder = "{folder / "files"}"', f"[models.{MODEL}]", 'engine = "remote"']
    lines += [f'urls = ["unix:{folder / "sim.sock"}"]', 'tasks = ["generate"]']
    lines += [f"max_in_flight = {limit}"] if limit else []
    return "\n".join(lines) + "\n"


async def _streams(settings: BatchSettings, address: str) -> dict[str, Any]:
    """Send streams at a steady rate, and measure the time to their first tokens."""
    load = Load(address)
    requests = [
        workload.chat(MODEL, workload.text(settings.prompt_tokens, number), settings.tokens, stream=True)
        for number in range(50)
    ]
    await load.open_loop(requests, arrivals.poisson(settings.rate, settings.seconds, seed=1))
    load.close()
    ttfts = [1000 * record.ttft for record in load.records if record.ttft is not None]
    return {
        "streams": len(load.records),
        "failed": sum(not record.succeeded for record in load.records),
        **{f"ttft_p{percent}_ms": round(percentile(ttfts, percent), 2) for percent in (50, 99)},
    }


async def _begin(settings: BatchSettings, client: HttpClient) -> str:
    """Begin a batch, and return its id."""
    lines = []
    for number in range(settings.lines):
        request = workload.chat(
            MODEL, workload.text(settings.prompt_tokens, f"line {number}"), settings.tokens, stream=False
        )
        body = msgspec.Raw(request.body)
        lines.append(msgspec.json.encode({"custom_id": str(number), "method": "POST", "url": _ENDPOINT, "body": body}))
    uploaded = await client.post("/v1/files", _FORM % b"\n".join(lines), "multipart/form-data; boundary=x")
    asked = {"input_file_id": msgspec.json.decode(uploaded.body)["id"], "endpoint": _ENDPOINT}
    begun = await client.post("/v1/batches", msgspec.json.encode({**asked, "completion_window": "24h"}))
    return str(msgspec.json.decode(begun.body)["id"])


async def _batch(client: HttpClient, batch_id: str) -> dict[str, Any]:
    batch: dict[str, Any] = msgspec.json.decode((await client.get(f"/v1/batches/{batch_id}")).body)
    return batch


async def _until(client: HttpClient, batch_id: str, condition: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    while not condition(batch := await _batch(client, batch_id)):  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(_POLL_SECONDS)
    return batch


async def _results(client: HttpClient, batch: Mapping[str, Any]) -> dict[str, int]:
    """Count the results of each line that has any."""
    found: dict[str, int] = {}
    for name in ("output_file_id", "error_file_id"):
        if batch[name] is not None:
            content = (await client.get(f"/v1/files/{batch[name]}/content")).body
            for line in content.splitlines():
                custom_id = msgspec.json.decode(line)["custom_id"]
                found[custom_id] = found.get(custom_id, 0) + 1
    return found


def table(found: Mapping[str, Any]) -> str:
    """Write what was found as a table in Markdown."""
    lines = [
        "| `max_in_flight` | TTFT p50 / p99 alone | beside a batch | p99, times | lines/s | killed after | results |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for run in found["runs"]:
        alone, beside = (f"{run[side]['ttft_p50_ms']} / {run[side]['ttft_p99_ms']} ms" for side in ("alone", "beside"))
        wrong = f"{run['missing']} missing, {run['repeated']} twice"
        lines.append(
            f"| {run['max_in_flight'] or 'none'} | {alone} | {beside} | {run['times']} | {run['lines_per_second']} "
            f"| {run['killed_after']} lines | {wrong} |"
        )
    return "\n".join(lines)


def misses(found: Mapping[str, Any]) -> list[str]:
    """Name what is not as it should be."""
    missed = []
    for run in found["runs"]:
        name = f"batch, max_in_flight {run['max_in_flight'] or 'none'}"
        if run["times"] > MOST_ADDED:
            missed.append(f"{name}: p99 of TTFT is {run['times']} times as long beside a batch, more than {MOST_ADDED}")
        if run["missing"] or run["repeated"]:
            missed.append(f"{name}: {run['missing']} lines have no result, {run['repeated']} more than one")
        if run["status"] != "completed":
            missed.append(f"{name}: the batch is {run['status']}")
    return missed
