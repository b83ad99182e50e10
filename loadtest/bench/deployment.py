"""Headgate as it is deployed, in a process of its own, in front of an instant engine."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.launch import Server, launched, python
from loadtest.http_client import HttpClient, Response

_SERVES = re.compile(r"serves at (http://\S+) \(up after .*; metrics and probes at (http://\S+)\)")
_LISTENS = re.compile(r"listens on (http://\S+)")

MOST_HOSTS = 1000
"""Addresses at which the engine listens, so that each replica of a large pool has one of its own."""

_LIMITED = (
    "[gateway.groups.limited]",
    "priority = 1",
    "[gateway.groups.limited.limits]",
    "requests_per_minute = 1_000_000_000",
    "tokens_per_minute = 1_000_000_000",
)
"""A group whose requests are counted, and come behind others where requests wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What is deployed. Everything that a deployment switches on is on: keys, admission, metrics, the access log."""

    replicas: int = 1
    models: int = 1
    keys: int = 1000
    processes: int = 1
    policy: str | None = None
    limited: bool = False
    """Whether the keys have a priority and limits, which no load reaches."""
    max_in_flight: int = 4096
    max_queue: int = 1024

    def model(self, number: int) -> str:
        """Return the name of a model."""
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
        lines += _LIMITED if self.limited else []
        for number in range(self.models):
            lines += [f"[models.{self.model(number)}]", 'engine = "remote"', f"urls = {urls!r}".replace("'", '"')]
            lines += [] if self.policy is None else [f'policy = "{self.policy}"']
            lines += [f"max_in_flight = {self.max_in_flight}", f"max_queue = {self.max_queue}"]
        return "\n".join(lines) + "\n"

    def keys_file(self) -> str:
        """Write the file of keys."""
        secrets = (self.key(number).encode() for number in range(self.keys))
        group = " group=limited" if self.limited else ""
        digests = (hashlib.sha256(each).hexdigest() for each in secrets)
        return "".join(f"key-{number} {digest}{group}\n" for number, digest in enumerate(digests))


class Deployment(Server):
    """Headgate, running."""

    def __init__(self, spec: DeploymentSpec, address: str, control: str, pid: int) -> None:
        super().__init__(address, pid)
        self.spec = spec
        self.control = control
        """Address of the control plane."""

    async def control_page(self, path: str) -> Response:
        """Get a page of the control plane, on a connection of its own."""
        async with HttpClient(self.control) as client:
            return await client.get(path)

    async def ready(self) -> bool:
        """Tell whether ``/readyz`` says so."""
        return (await self.control_page("/readyz")).status == 200


@asynccontextmanager
async def instant_engine(
    *, hosts: int = 1, delay: float = 0.0, pace: float = 0.0, at_once: bool = False, model: str = "sim"
) -> AsyncIterator[str]:
    """Run an instant engine on the load's CPU, and yield its address. Raises ``DidNotStart``."""
    options = ["--instant", "--port", "0", "--hosts", str(hosts), "--model", model]
    options += ["--ttft", str(delay), "--inter-token", str(pace)]
    options += ["--at-once"] if at_once else []
    async with launched(python("loadtest.simulator", *options), load_and_gateway_cpus()[0]) as process:
        yield (await process.until_written(_LISTENS))[1]


@asynccontextmanager
async def deployed(spec: DeploymentSpec, engine: str) -> AsyncIterator[Deployment]:
    """Run Headgate on the gateway's CPU until the block ends. Raises ``DidNotStart``."""
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as name:
        folder = Path(name)
        (folder / "keys.txt").write_text(spec.keys_file())
        (folder / "models.toml").write_text(spec.configuration(engine, folder))
        options = ["serve", "--config", str(folder / "models.toml")]
        options += ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        async with launched(python("gateway", *options), load_and_gateway_cpus()[1]) as process:
            serves = await process.until_written(_SERVES)
            running = Deployment(spec, serves[1], serves[2], process.pid)
            await process.until_ready(running.ready)
            yield running
