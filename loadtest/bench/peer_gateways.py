"""The gateways that people would run instead: how each is installed, and started in front of the same engine."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engines.files.sources import default_cache
from loadtest.bench.clients import chat_body
from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.deployment import DeploymentSpec, deployed
from loadtest.bench.environments import Missing, environment
from loadtest.bench.launch import Server, free_port, launched
from loadtest.http_client import HttpClient, HttpError

_NGINX = """\
worker_processes 1;
daemon off;
master_process off;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder};
  proxy_temp_path {folder};
  fastcgi_temp_path {folder};
  uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  keepalive_requests 1000000;
  upstream engine {{ server {engine}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
"""A plain reverse proxy that keeps its connections, as the others do, and passes on each event when it comes."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that can be started. ``run`` gets the engine's address, and raises ``DidNotStart``."""

    name: str
    title: str
    run: Callable[[DeploymentSpec, str], AbstractAsyncContextManager[Server]]


HEADGATE = Gateway("headgate", "**Headgate**", deployed)


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway that may have to be installed, by ``find``, which logs what it does and raises ``Missing``."""

    name: str
    find: Callable[[Callable[[str], None]], Awaitable[Gateway]]


@asynccontextmanager
async def served(
    command: Sequence[str], port: int, spec: DeploymentSpec, patience: float = 60.0
) -> AsyncIterator[Server]:
    """Run a command on the gateway's CPU, from its first response at a port of 127.0.0.1 until the block ends.

    It is killed then, because nothing of it is kept. Raises ``DidNotStart``.
    """
    address = f"http://127.0.0.1:{port}"
    body = chat_body(spec.model(0))

    async def ready() -> bool:
        try:
            async with HttpClient(address, key=spec.key(0)) as client:
                return (await client.post("/v1/chat/completions", body)).status == 200
        except HttpError:
            return False

    async with launched(command, load_and_gateway_cpus()[1], grace=0.0) as process:
        await process.until_ready(ready, patience)
        yield Server(address, process.pid)


async def _nginx(log: Callable[[str], None]) -> Gateway:  # noqa: ARG001 - it is there or not
    command = shutil.which("nginx")
    if command is None:
        raise Missing("there is no `nginx` in PATH; Debian's package is `nginx-light`")
    process = await asyncio.create_subprocess_exec(command, "-v", stderr=asyncio.subprocess.PIPE)
    _, output = await process.communicate()
    version = output.decode().rpartition("/")[2].split()[0]
    return Gateway("nginx", f"nginx {version}, a plain reverse proxy", partial(_run_nginx, command))


@asynccontextmanager
async def _run_nginx(command: str, spec: DeploymentSpec, engine: str) -> AsyncIterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(_NGINX.format(folder=folder, port=port, engine=engine.removeprefix("http://")))
        start = [command, "-p", folder, "-e", "stderr", "-c", str(file)]
        async with served(start, port, spec) as running:
            yield running


@dataclass(frozen=True, slots=True)
class Router:
    """A router of the family whose first was SGLang's: their options have kept their names."""

    name: str
    version: str
    start: tuple[str, ...]
    """The program, in the folder of its commands, and what comes before all options."""

    def command(self, commands: Path, port: int, engines: Sequence[str], policy: str) -> list[str]:
        """Return the command that serves at a port of 127.0.0.1, in front of these engines."""
        program, *options = self.start
        command = [str(commands / program), *options, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--worker-urls", *engines, "--policy", policy]
        return [
            *command,
            "--prometheus-host",
            "127.0.0.1",
            "--prometheus-port",
            str(free_port()),
            "--log-level",
            "error",
        ]

    async def find(self, log: Callable[[str], None]) -> Gateway:
        """Install it where it is not yet, and return it as a gateway in front of one engine. Raises ``Missing``."""
        commands = await environment(self.name, self.version, default_cache() / "bench", log)
        return Gateway(self.name, f"{self.name} {self.version}", partial(self._run, commands))

    @asynccontextmanager
    async def _run(self, commands: Path, spec: DeploymentSpec, engine: str) -> AsyncIterator[Server]:
        port = free_port()
        async with served(self.command(commands, port, [engine], "round_robin"), port, spec) as running:
            yield running


ROUTERS: tuple[Router, ...] = (
    Router("vllm-router", "0.1.17", ("vllm-router",)),
    Router("sglang-router", "0.3.2", ("python", "-m", "sglang_router.launch_router")),
    Router("smg", "1.13.0", ("smg", "launch")),
)

PEERS: tuple[Peer, ...] = (Peer("nginx", _nginx), *(Peer(router.name, router.find) for router in ROUTERS))
