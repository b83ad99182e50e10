"""The gateways that are compared, each as a command: ours with each of its policies, and its peers."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.files.sources import default_cache
from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.environments import Missing, environment
from loadtest.bench.launch import Server, free_port, launched, python
from loadtest.bench.peer_gateways import ROUTERS, Router
from loadtest.bench.prefix.engines import MODEL
from loadtest.http_client import HttpClient, HttpError
from loadtest.workload import chat

OUR_POLICIES = ("prefix", "least_tokens", "least_in_flight", "power_of_two", "round_robin")

_CONFIGURATION = """\
[gateway]
access_log = "off"
[models.{model}]
engine = "remote"
urls = [{urls}]
tasks = ["generate"]
{options}
"""

_PATIENCE = 60.0
"""Seconds until a gateway must have answered a request."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A gateway that can be started in front of several engines.

    ``command`` gets a folder of its own, the port to listen on, the engines' addresses and how many tokens the cache of
    each has.
    """

    name: str
    command: Callable[[Path, int, Sequence[str], int], Sequence[str]]
    ours: bool = False


def ours(policy: str) -> Candidate:
    """Return Headgate with a policy."""

    def command(folder: Path, port: int, engines: Sequence[str], cache_tokens: int) -> Sequence[str]:
        options = [f'policy = "{policy}"']
        if policy == "prefix":
            options.append(f"prefix_cache_tokens = {cache_tokens}")
        urls = ", ".join(f'"{each}"' for each in engines)
        file = folder / "models.toml"
        file.write_text(_CONFIGURATION.format(model=MODEL, urls=urls, options="\n".join(options)))
        listen = ["--listen", f"127.0.0.1:{port}", "--control", "127.0.0.1:0"]
        return python("gateway", "serve", "--config", str(file), *listen)

    return Candidate(f"headgate {policy}", command, ours=True)


def given(option: str) -> Candidate:
    """Read ``NAME=COMMAND``, in which ``{port}`` and ``{urls}`` are filled in, or ``POLICY=ours``.

    Raises ``ValueError``.
    """
    name, _, line = option.partition("=")
    if line == "ours":
        return ours(name)
    words = line.split()
    if not name or "{urls}" not in words or "{port}" not in line:
        raise ValueError(
            f"{option!r} is no gateway: expected NAME=COMMAND, with {{port}} and, as a word, {{urls}} in it"
        )

    def command(_folder: Path, port: int, engines: Sequence[str], _cache_tokens: int) -> Sequence[str]:
        filled: list[str] = []
        for word in words:
            filled += engines if word == "{urls}" else [word.replace("{port}", str(port))]
        return filled

    return Candidate(name, command)


async def peers(log: Callable[[str], None]) -> tuple[list[Candidate], dict[str, str]]:
    """Return the routers that can be had, with their cache-aware policies, and why the others cannot."""
    found: list[Candidate] = []
    left_out: dict[str, str] = {}
    for router in ROUTERS:
        try:
            commands = await environment(router.name, router.version, default_cache() / "bench", log)
        except Missing as error:
            left_out[router.name] = str(error)
            log(f"prefix: without {router.name}: {error}")
        else:
            found.append(_peer(router, commands))
    return found, left_out


def _peer(router: Router, commands: Path) -> Candidate:
    def command(_folder: Path, port: int, engines: Sequence[str], _cache_tokens: int) -> Sequence[str]:
        return router.command(commands, port, engines, "cache_aware")

    return Candidate(f"{router.name} cache_aware", command)


@asynccontextmanager
async def running(candidate: Candidate, engines: Sequence[str], cache_tokens: int) -> AsyncIterator[Server]:
    """Run a gateway on its CPU, from when it has answered for each engine until the block ends.

    Raises ``DidNotStart``.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    questions = [chat(MODEL, f"Are you there? {number}", 1, stream=False) for number in range(2 * len(engines))]

    async def ready() -> bool:
        try:
            async with HttpClient(address) as client:
                answers = [await client.post(each.path, each.body) for each in questions]
        except HttpError:
            return False
        return all(answer.status == 200 for answer in answers)

    with tempfile.TemporaryDirectory(prefix="hg-bench-") as folder:
        command = candidate.command(Path(folder), port, engines, cache_tokens)
        async with launched(command, load_and_gateway_cpus()[1], grace=0.0) as process:
            await process.until_ready(ready, _PATIENCE)
            yield Server(address, process.pid)
