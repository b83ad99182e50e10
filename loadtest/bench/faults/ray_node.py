"""What clients feel when a node of a Ray cluster is lost under load, and after how long its replicas are back."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any

from gateway.config.reference import toml
from loadtest import arrivals, workload
from loadtest.bench.faults.serving import ServedGateway, outcomes, serving
from loadtest.bench.launch import ROOT
from loadtest.bench.ray_cluster import RayCluster, ray_cluster
from loadtest.load import Load

MODEL = "m"


@dataclass(frozen=True, slots=True, kw_only=True)
class RayNodeSettings:
    """How many requests a second, for how long, and after how many seconds a node is lost."""

    rate: float = 50.0
    load_seconds: float = 40.0
    lost_after: float = 3.0
    replicas: int = 2


async def measure(log: Callable[[str], None], settings: RayNodeSettings | None = None) -> Mapping[str, Any]:
    """Lose one of two nodes, each with room for all replicas; return what became of the requests."""
    settings = settings or RayNodeSettings()
    async with AsyncExitStack() as stack:
        source = tomllib.loads((ROOT / "models.toml").read_text(encoding="utf-8"))["models"]["minilm"]["source"]
        cluster = await stack.enter_async_context(ray_cluster([settings.replicas] * 2))
        gateway = await stack.enter_async_context(serving(configuration(cluster.url, source, settings.replicas)))
        await until_ready(gateway, settings.replicas)
        found = await lose_node(cluster, gateway, settings)
        log(str(found))
        return found


async def lose_node(cluster: RayCluster, gateway: ServedGateway, settings: RayNodeSettings) -> dict[str, Any]:
    """Lose a node with replicas under load, and wait until as many replicas are ready as before."""
    # Longer than a request is held: who waits for a replica in vain is told so by the gateway.
    load = Load(gateway.address)
    requests = [workload.embedding(MODEL, f"The gate, number {number}.", 0, stream=False) for number in range(50)]
    moments = arrivals.poisson(settings.rate, settings.load_seconds, seed=1)
    asking = asyncio.create_task(load.open_loop(requests, moments))
    await asyncio.sleep(settings.lost_after)
    before = {each["name"]: each["address"] for each in (await gateway.model(MODEL))["replicas"]}
    lost_at = monotonic()
    await cluster.lose(next(node for node in cluster.nodes if node.runs("-m engines.onnx")))
    await gateway.until(MODEL, lambda replicas: sum(each["ready"] for each in replicas) < settings.replicas)
    noticed = monotonic() - lost_at
    await until_ready(gateway, settings.replicas)
    back = monotonic() - lost_at
    after = {each["name"]: each["address"] for each in (await gateway.model(MODEL))["replicas"]}
    await asking
    load.close()
    return {
        "requests": outcomes(load.records),
        "moved": sum(before[name] != address for name, address in after.items()),
        "noticed_seconds": round(noticed, 2),
        "back_seconds": round(back, 2),
    }


async def until_ready(gateway: ServedGateway, replicas: int) -> None:
    """Wait until so many replicas get requests."""
    await gateway.until(MODEL, lambda listed: sum(each["ready"] for each in listed) == replicas)


def configuration(url: str, source: str | Mapping[str, Any], replicas: int) -> str:
    """Write a configuration with a small embedder on a cluster, each replica on one CPU."""
    ray = f'[gateway.ray]\naddress = "{url}"\npoll = 0.2\npython = "{sys.executable}"\n'
    return (
        f'[gateway]\naccess_log = "off"\n{ray}[models.{MODEL}]\nengine = "onnx"\nsource = {toml(source)}\n'
        f'tasks = ["embed"]\nplacement = "ray"\nreplicas = {replicas}\nargs = {{ threads = 1 }}\nhold = 120\n'
    )
