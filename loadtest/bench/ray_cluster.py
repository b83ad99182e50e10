"""A Ray cluster on this machine: a head without CPUs, and nodes that can be lost. It needs ``ray[default]``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from engines.processes.shim_command import shim_command
from loadtest.bench import process_usage
from loadtest.bench.launch import DidNotStart, free_port

_OBJECT_STORE_BYTES = 80_000_000
"""Replicas keep nothing there; Ray takes no less."""

_START_SECONDS = 120.0
_POLL_SECONDS = 0.1


def head_command(gcs: int, dashboard: int, client: int, folder: Path) -> list[str]:
    """Write the command of a head that runs no replica itself."""
    command = [
        *_start(cpus=0),
        "--head",
        "--no-monitor",
        f"--port={gcs}",
        f"--temp-dir={folder}",
        "--include-dashboard=true",
    ]
    return [*command, f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]


def node_command(gcs: int, agent: int, cpus: int) -> list[str]:
    """Write the command of a node. Each needs a port of its own for its agent, as they are on one machine."""
    return [*_start(cpus=cpus), f"--address=127.0.0.1:{gcs}", f"--dashboard-agent-listen-port={agent}"]


def _start(cpus: int) -> list[str]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    command += [f"--num-cpus={cpus}", "--num-gpus=0", f"--object-store-memory={_OBJECT_STORE_BYTES}"]
    # What reads logs is of no use here. Ray's own choice of ports does not look whether they are free.
    return [*command, "--include-log-monitor=false", "--min-worker-port=0", "--max-worker-port=0"]


class RayNode:
    """One node, with all that runs on it, below a shim that leaves nothing of it behind."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    def __repr__(self) -> str:
        return f"<RayNode {self.pid}>"

    def runs(self, words: str) -> bool:
        """Tell whether a process runs on it whose command line has these words."""
        return any(words in _command_line(pid) for pid in process_usage.tree(self.pid))

    async def lose(self) -> None:
        """Kill all that runs on it at once, as a machine that loses its power."""
        _, *below = process_usage.tree(self.pid)
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.end()

    async def end(self) -> None:
        """Cut the lifeline, and wait until nothing of it is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


class RayCluster:
    """A cluster with ``nodes``, each of so many CPUs; ``url`` is where jobs are submitted."""

    def __init__(self, url: str, gcs: int, environment: Mapping[str, str]) -> None:
        self.url = url
        self.nodes: list[RayNode] = []
        self._gcs = gcs
        self._environment = environment

    def __repr__(self) -> str:
        return f"<RayCluster at {self.url} [{len(self.nodes)} nodes]>"

    async def add_node(self, cpus: int) -> RayNode:
        """Start one more node, and wait until the cluster has it."""
        node = RayNode(await _started(node_command(self._gcs, free_port(), cpus), self._environment))
        self.nodes.append(node)
        async with asyncio.timeout(_START_SECONDS):
            while True:
                if await self.alive() > len(self.nodes):
                    return node
                await asyncio.sleep(_POLL_SECONDS)

    async def lose(self, node: RayNode) -> None:
        """Lose a node with all that runs on it."""
        self.nodes.remove(node)
        await node.lose()

    async def alive(self) -> int:
        """Count the nodes that Ray takes to be alive, the head among them."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/api/v0/nodes?limit=100") as answer:
            nodes = (await answer.json())["data"]["result"]["result"]
            return sum(node["state"] == "ALIVE" for node in nodes)


@asynccontextmanager
async def ray_cluster(cpus: Sequence[int], **settings: str) -> AsyncIterator[RayCluster]:
    """Run a cluster with a node of each of these numbers of CPUs. ``settings`` are environment variables of Ray.

    Raises ``DidNotStart``.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)))
        environment = {"RAY_raylet_start_wait_time_s": str(int(_START_SECONDS)), **settings}
        gcs, dashboard, client = free_port(), free_port(), free_port()
        head = RayNode(await _started(head_command(gcs, dashboard, client, folder), environment))
        stack.push_async_callback(head.end)
        cluster = RayCluster(f"http://127.0.0.1:{dashboard}", gcs, environment)
        await _until_answered(cluster.url)
        try:
            # One after the other: on one machine, nodes that start together take each other's sockets.
            for each in cpus:
                await cluster.add_node(each)
            yield cluster
        finally:
            await asyncio.gather(*(node.lose() for node in cluster.nodes))


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


async def _started(command: Sequence[str], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *shim_command(command),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


async def _until_answered(url: str) -> None:
    """Wait until jobs can be submitted."""
    try:
        async with asyncio.timeout(_START_SECONDS), aiohttp.ClientSession() as http:
            while True:
                with suppress(aiohttp.ClientError):
                    async with http.get(f"{url}/api/jobs/") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise DidNotStart(f"the head at {url} is not ready after {_START_SECONDS:g} s") from None
