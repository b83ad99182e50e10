"""A gateway as it is in earnest, in a process of its own, in front of an instant engine."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from loadtest.bench import cores, processes
from loadtest.bench.pages import Page, get

_ROOT = Path(__file__).parent.parent.parent
"""Where the processes run, so that they are of this code wherever the benchmark is called."""

_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_SERVES = re.compile(r"serves at (http://\S+) \(up after .*; metrics and probes at (http://\S+)\)")
_LISTENS = re.compile(r"listens on (http://\S+)")

MOST_HOSTS = 1000
"""Addresses at which the engine listens, so that each replica of a large pool has one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is deployed. Everything that a deployment switches on is on: keys, admission, metrics, the access log."""

    replicas: int = 1
    models: int = 1
    keys: int = 1000
    processes: int = 1
    max_in_flight: int = 4096
    max_queue: int = 1024

    def model(self, number: int) -> str:
        """Name a model."""
        return f"model-{number % self.models}"

    def key(self, number: int) -> str:
        """Return a key's secret."""
        return f"sk-bench-{number % self.keys}"

    def configuration(self, engine: str, folder: Path) -> str:
        """Write ``models.toml`` for an engine's address, ``http://HOST:PORT``."""
        host, _, port = engine.removeprefix("http://").rpartition(":")
        urls = [f"http://{IPv4Address(host) + number}:{port}" for number in range(self.replicas)]
        lines = ["[gateway]", 'keys_file = "keys.txt"', f'access_log = "{folder / "access.jsonl"}"']
        lines.append(f"processes = {self.processes}")
        for number in range(self.models):
            lines += [f"[models.{self.model(number)}]", 'engine = "remote"', f"urls = {urls!r}".replace("'", '"')]
            lines += [f"max_in_flight = {self.max_in_flight}", f"max_queue = {self.max_queue}"]
        return "\n".join(lines) + "\n"

    def keys_file(self) -> str:
        """Write the file of keys."""
        secrets = (self.key(number).encode() for number in range(self.keys))
        return "".join(f"key-{number} {hashlib.sha256(each).hexdigest()}\n" for number, each in enumerate(secrets))


class Running:
    """A gateway that runs, ours or another's: its process and all that descend from it."""

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self.pid = pid

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.address}>"

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the gateway so far."""
        return processes.cpu_seconds(self.pid)

    @property
    def resident_bytes(self) -> int:
        """Memory that the gateway holds now."""
        return processes.resident_bytes(self.pid)


class Deployment(Running):
    """Headgate, running."""

    def __init__(self, plan: Plan, address: str, control: str, pid: int) -> None:
        super().__init__(address, pid)
        self.plan = plan
        self.control = control

    async def page(self, path: str) -> Page:
        """Get a page of the control plane."""
        return await get(self.control + path)


class DidNotStart(Exception):
    """A process ended or said nothing while it was starting; the message has what it wrote."""


@asynccontextmanager
async def instant_engine(
    *, hosts: int = 1, delay: float = 0.0, pace: float = 0.0, at_once: bool = False, model: str = "sim"
) -> AsyncIterator[str]:
    """Run an instant engine on the load's core, and yield its address. Raises ``DidNotStart``."""
    command = ["-m", "loadtest.simulator", "--instant", "--port", "0", "--hosts", str(hosts)]
    command += ["--ttft", str(delay), "--inter-token", str(pace), "--model", model]
    command += ["--at-once"] if at_once else []
    async with _process(command, cores.cores()[0], _LISTENS) as (_, found):
        yield found[1]


@asynccontextmanager
async def deployed(plan: Plan, engine: str) -> AsyncIterator[Deployment]:
    """Run a gateway on its core until the block ends. Raises ``DidNotStart``."""
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as name:
        folder = Path(name)
        (folder / "keys.txt").write_text(plan.keys_file())
        (folder / "models.toml").write_text(plan.configuration(engine, folder))
        command = ["-m", "gateway", "serve", "--config", str(folder / "models.toml")]
        command += ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        async with _process(command, cores.cores()[1], _SERVES) as (pid, found):
            running = Deployment(plan, found[1], found[2], pid)
            async with asyncio.timeout(_START_SECONDS):
                while (await running.page("/readyz")).status != 200:  # noqa: ASYNC110 - another process tells no event
                    await asyncio.sleep(0.05)
            yield running


@asynccontextmanager
async def _process(
    command: Sequence[str], where: frozenset[int], ready: re.Pattern[str]
) -> AsyncIterator[tuple[int, re.Match[str]]]:
    """Run a Python process on these cores; yield its id and what it said when it was ready."""
    with cores.on(where):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=_ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    said: list[str] = []
    assert process.stdout is not None
    reading: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(_START_SECONDS):
            while (found := ready.search("".join(said))) is None:
                line = await process.stdout.readline()
                if not line:
                    raise DidNotStart("".join(said) or "it said nothing")
                said.append(line.decode())
        # What it says later must not fill the pipe.
        reading = asyncio.create_task(_read_on(process.stdout))
        yield process.pid, found
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if reading is not None:
            await reading


async def _read_on(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
