"""Headgate with a vLLM of its own, and the two ways to that: through the gateway, and to the engine's own socket."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from engines.processes.gpus import available
from loadtest.bench.cpu_affinity import AVAILABLE_CPUS, load_and_gateway_cpus
from loadtest.bench.faults.serving import ServedGateway, serving
from loadtest.bench.gpu.shapes import Shape
from loadtest.bench.process_usage import own_cpu_seconds
from loadtest.http_client import HttpClient

_KEY = "sk-bench"

_ENOUGH_CPUS = 8
"""From so many CPUs on the load has one for itself: an engine on a GPU does not need all of the others."""


class NoGpu(Exception):
    """A shape needs a GPU and there is none; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One model of a running gateway, and where it is asked: the addresses of the gateway and of its engine."""

    model: str
    gateway: str
    direct: str
    key: str = field(repr=False)
    pid: int
    """The gateway's process, without the engine's."""

    @property
    def gateway_cpu_seconds(self) -> float:
        """Processor time, user's and system's, of the gateway so far."""
        return own_cpu_seconds(self.pid)


def check_gpu(shape: Shape) -> None:
    """Raise ``NoGpu`` where a shape needs one and there is none. Raises ``GpuError`` where the driver hangs."""
    if shape.needs_gpu and not available():
        raise NoGpu(f"the shape {shape.name} needs a GPU, and there is none; --shape 135m runs without")


@asynccontextmanager
async def started(shape: Shape) -> AsyncIterator[Compared]:
    """Run a gateway with an engine of this shape until the block ends. Raises ``DidNotStart``.

    Everything is on that a deployment switches on: keys, limits, metrics, the access log.
    """
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as name:
        folder = Path(name)
        shape.write(folder)
        (folder / "keys.txt").write_text(f"bench {hashlib.sha256(_KEY.encode()).hexdigest()}\n")
        cpus = frozenset(AVAILABLE_CPUS)
        if len(cpus) >= _ENOUGH_CPUS:
            cpus -= load_and_gateway_cpus()[0]
        async with serving(configuration(shape, folder), cpus) as gateway:
            yield await _compared(shape.name, gateway)


def configuration(shape: Shape, folder: Path) -> str:
    """Write ``models.toml`` for a shape whose files are in a folder."""
    # Strings, numbers and true are the same in TOML as in JSON.
    options = [f"args.{name} = {json.dumps(value)}" for name, value in shape.args.items()]
    lines = ["[gateway]", f"keys_file = {json.dumps(str(folder / 'keys.txt'))}"]
    lines += [f"access_log = {json.dumps(str(folder / 'access.jsonl'))}"]
    lines += [f"[models.{shape.name}]", 'engine = "vllm"', f"source = {json.dumps(str(folder))}", *options]
    lines += ["limits.max_in_flight = 4096", "limits.max_queue = 1024"]
    return "\n".join(lines) + "\n"


async def described(target: Compared) -> dict[str, Any]:
    """Return the version of vLLM and its KV cache's size, as the engine says it, and which GPU it runs on."""
    async with HttpClient(target.direct) as client:
        version = msgspec.json.decode((await client.get("/version")).body)["version"]
        metrics = (await client.get("/metrics")).text
    return {"vllm": version, "gpu": _gpu(), **cache_size(metrics)}


def cache_size(metrics: str) -> dict[str, int]:
    """Read the blocks of the KV cache, and the tokens of each, from an engine's metrics; nothing if they do not say."""
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            blocks, tokens = (sample.labels.get(name, "") for name in ("num_gpu_blocks", "block_size"))
            if sample.name == "vllm:cache_config_info" and blocks.isdecimal() and tokens.isdecimal():
                return {"num_blocks": int(blocks), "block_size": int(tokens)}
    return {}


async def _compared(model: str, gateway: ServedGateway) -> Compared:
    await gateway.until(model, lambda replicas: all(each["ready"] for each in replicas))
    (replica,) = (await gateway.model(model))["replicas"]
    return Compared(model, gateway.address, replica["address"], _KEY, gateway.pid)


def _gpu() -> str:
    """Name the GPUs and their driver; nothing where there is none."""
    if shutil.which("nvidia-smi") is None or not available():
        return ""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return "; ".join(listed.stdout.strip().splitlines()) if listed.returncode == 0 else ""
