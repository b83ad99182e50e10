"""What keys get that ask for twice their limits: from one process, from several, and from nodes that share Redis."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from loadtest.bench.clients import request
from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.deployment import Deployment, DeploymentSpec, deployed, instant_engine
from loadtest.bench.launch import launched

_LINES = 23
"""Connections that take turns. It shares no factor with the number of nodes, so each key asks all of them."""

_KILLED_AFTER = 0.25
"""When something is killed, as a share of the time."""

_REDIS_AWAY_SECONDS = 1.0

_SHARE, _LOST_SECONDS = 0.01, 1.0
"""How far from its limit a key may be, and where something is killed, how many seconds of all counts may be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """How many keys ask for twice their limits of requests per minute, evenly over so many seconds."""

    keys: int = 1000
    limit: int = 10
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked, and what is killed in the middle: a ``process`` of a gateway, or ``redis``."""

    nodes: int
    processes: int
    killed: str = ""

    @property
    def name(self) -> str:
        """What a table calls it."""
        nodes = "one node" if self.nodes == 1 else f"{self.nodes} nodes with Redis"
        return f"{nodes}, {self.processes} process{'es' if self.processes > 1 else ''} each"


SCENARIOS = (
    Scenario(1, 1),
    Scenario(1, 4),
    Scenario(1, 4, "process"),
    Scenario(2, 1),
    Scenario(2, 4),
    Scenario(2, 4, "process"),
    Scenario(2, 1, "redis"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedSpec(DeploymentSpec):
    """A deployment whose keys have a limit each, which it may share."""

    limit: int
    redis: str = ""

    def configuration(self, engine: str, folder: Path) -> str:
        """Write ``models.toml`` with the keys in it."""
        lines = [DeploymentSpec.configuration(self, engine, folder)]
        for number in range(self.keys):
            digest = sha256(self.key(number).encode()).hexdigest()
            lines += ["[[gateway.keys]]", f'id = "key-{number}"', f'sha256 = "{digest}"']
            lines.append(f"limits = {{ requests_per_minute = {self.limit} }}")
        lines += ["[gateway.redis]", f'url = "{self.redis}"'] if self.redis else []
        return "\n".join(lines) + "\n"

    def keys_file(self) -> str:
        """Write a file without keys."""
        return ""


async def measure(
    settings: LimitsSettings, scenarios: Sequence[Scenario], log: Callable[[str], None]
) -> dict[str, Any]:
    """Measure each scenario; ``failed`` counts responses that are neither granted nor refused by a limit."""
    runs: list[dict[str, Any]] = []
    left_out = "" if shutil.which("redis-server") else "redis-server is not installed"
    for scenario in scenarios:
        if scenario.nodes > 1 and left_out:
            log(f"limits: {scenario.name}: left out, {left_out}")
            continue
        runs.append(await _run(scenario, settings))
        log(f"limits: {runs[-1]}")
    return {
        "keys": settings.keys,
        "limit": settings.limit,
        "seconds": settings.seconds,
        "left_out": left_out,
        "failed": sum(run["failed"] for run in runs),
        "runs": runs,
    }


async def _run(scenario: Scenario, settings: LimitsSettings) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-bench-")))
        redis = _Redis(folder / "redis.sock")
        spec = LimitedSpec(keys=settings.keys, processes=scenario.processes, limit=settings.limit)
        if scenario.nodes > 1:
            await stack.enter_async_context(redis.running())
            spec = LimitedSpec(
                keys=settings.keys, processes=scenario.processes, limit=settings.limit, redis=f"unix://{redis.path}"
            )
        engine = await stack.enter_async_context(instant_engine())
        nodes = [await stack.enter_async_context(deployed(spec, engine)) for _ in range(scenario.nodes)]
        asking = _Asking(settings, spec, [node.address for node in nodes])
        killing = asyncio.create_task(_kill(scenario, settings.seconds * _KILLED_AFTER, nodes, redis))
        await asking.run()
        await killing
    granted = [asking.granted[key] for key in range(settings.keys)]
    return {
        "name": scenario.name,
        "killed": scenario.killed,
        "asked_least": min(asking.asked[key] for key in range(settings.keys)),
        "granted": sum(granted),
        "least": min(granted),
        "most": max(granted),
        "beyond_a_hundredth": sum(abs(each - settings.limit) > _SHARE * settings.limit for each in granted),
        "deviation_seconds": round((sum(granted) / settings.keys / settings.limit - 1) * settings.seconds, 3),
        "statuses": {str(status): number for status, number in sorted(asking.statuses.items())},
        "broken_off": asking.broken_off,
        "failed": sum(number for status, number in asking.statuses.items() if status not in (200, 429)),
        "latest_ms": round(asking.latest * 1000, 1),
    }


async def _kill(scenario: Scenario, after: float, nodes: Sequence[Deployment], redis: _Redis) -> None:
    if not scenario.killed:
        return
    await asyncio.sleep(after)
    if scenario.killed == "redis":
        await redis.restart()
    else:
        status = msgspec.json.decode((await nodes[0].control_page("/status")).body)
        os.kill(status["processes"][0]["pid"], signal.SIGKILL)


class _Asking:
    """The clients: each key asks at its own pace, on whichever connection has its turn."""

    def __init__(self, settings: LimitsSettings, spec: LimitedSpec, addresses: Sequence[str]) -> None:
        self._settings = settings
        self._addresses = addresses
        host = "127.0.0.1"
        self._requests = [request(host, spec.key(key), spec.model(0)) for key in range(settings.keys)]
        self.asked: Counter[int] = Counter()
        self.granted: Counter[int] = Counter()
        self.statuses: Counter[int] = Counter()
        self.broken_off = 0
        """Requests whose connection ended before their response."""
        self.latest = 0.0
        """How late a request was sent at most, in seconds."""

    async def run(self) -> None:
        """Ask until the time is over."""
        began = perf_counter() + 0.2
        await asyncio.gather(*(self._line(number, began) for number in range(_LINES)))

    async def _line(self, number: int, began: float) -> None:
        host, _, port = self._addresses[number % len(self._addresses)].rpartition("/")[2].rpartition(":")
        asked = 2 * self._settings.limit * self._settings.keys
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for at in range(number, asked, _LINES):
            due = began + at * self._settings.seconds / asked
            await asyncio.sleep(due - perf_counter())
            now = perf_counter()
            if now - began >= self._settings.seconds:
                # What is asked later counts in the next window.
                break
            self.latest = max(self.latest, now - due)
            key = at % self._settings.keys
            self.asked[key] += 1
            try:
                connection = connection or await asyncio.open_connection(host, int(port))
                status = await _response(*connection, self._requests[key])
            except (OSError, EOFError):
                self.broken_off += 1
                connection = None
                continue
            self.statuses[status] += 1
            self.granted[key] += status == 200
        if connection is not None:
            connection[1].close()


async def _response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> int:
    """Send a request, and return the status of the response. Raises ``OSError`` or ``EOFError``."""
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1])


class _Redis:
    """A Redis that keeps nothing, on a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = AsyncExitStack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run until the block ends."""
        await self._start()
        try:
            yield
        finally:
            await self._stack.aclose()

    async def restart(self) -> None:
        """Kill it, with all that it knows, and start it again a second later."""
        await self._stack.aclose()
        await asyncio.sleep(_REDIS_AWAY_SECONDS)
        await self._start()

    async def _start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no"]
        command = ["redis-server", *options, "--dir", str(self.path.parent)]
        process = await self._stack.enter_async_context(launched(command, load_and_gateway_cpus()[0], grace=0.0))
        await process.until_ready(self._answers)

    async def _answers(self) -> bool:
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_unix_connection(self.path)
            writer.write(b"PING\r\n")
            answer = await reader.readexactly(7)
            writer.close()
            return answer == b"+PONG\r\n"
        return False


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each scenario, in Markdown."""
    lines = [
        f"{found['keys']:,} keys, each of which asks {2 * found['limit']} times in {found['seconds']:g} s and may ask "
        f"{found['limit']} times a minute.",
        "",
        "| | killed in the middle | granted to a key, least to most | keys more than 1 % off | all together, off by "
        "seconds of counts | connections lost |",
        "|---|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {run['name']} | {run['killed'] or '-'} | {run['least']} to {run['most']} | {run['beyond_a_hundredth']} "
        f"| {run['deviation_seconds']:+.3f} | {run['broken_off']} |"
        for run in found["runs"]
    ]
    lines += ["", f"Left out: two nodes ({found['left_out']})."] if found["left_out"] else []
    return "\n".join(lines)


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return where keys got more or less than they may, in words."""
    missed = []
    for run in found["runs"]:
        where = f"limits, {run['name']}"
        if not run["killed"] and run["beyond_a_hundredth"]:
            missed.append(f"{where}: {run['beyond_a_hundredth']} keys got {run['least']} to {run['most']}")
        if run["killed"] and abs(run["deviation_seconds"]) >= _LOST_SECONDS:
            missed.append(f"{where}, {run['killed']} killed: {run['deviation_seconds']:+.3f} s of counts were lost")
    return missed
