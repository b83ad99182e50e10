"""The limits of keys hold for all processes together, exactly, whoever dies, and whatever a reload changes."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.config.load import load
from gateway.console.startup_log import StartupLog
from gateway.reload.reloader import ConfigSource
from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import RunningGateway
from tests.kit.wire import Response, Wire, WireError

pytestmark = pytest.mark.slow

PROCESSES = 4
KEYS = ("a", "b", "c", "d", "e")
LIMIT = 60


def configuration(engine: SimulatedEngine, limits: str, group: str) -> str:
    """Write a configuration in which each of the keys has these limits, and the group of all keys those."""
    keys = [
        f'[[gateway.keys]]\nid = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\ngroup = "team"\n'
        f"limits = {{ {limits} }}"
        for name in KEYS
    ]
    keys.append(f"[gateway.groups.team]\nlimits = {{ {group} }}")
    addresses = 'listen = "127.0.0.1:0"\ncontrol = "127.0.0.1:0"\naccess_log = "off"'
    model = f'[models.m]\nengine = "remote"\nurls = ["{engine.address}"]\nhealth_interval = 0.05\n'
    return "\n".join([f"[gateway]\n{addresses}\nprocesses = {PROCESSES}", *keys, model])


class Node:
    """Four processes whose configuration is a file."""

    def __init__(self, gateway: Gateway, path: Path, engine: SimulatedEngine) -> None:
        self.running = RunningGateway(gateway)
        self._gateway = gateway
        self._path = path
        self._engine = engine

    def reload(self, limits: str) -> None:
        self._path.write_text(configuration(self._engine, limits, ""))
        assert self._gateway.commands.reload().successful

    async def ask_for(self, key: str, granted: Counter[str], *, at_most: int = 10**6) -> None:
        """Ask one request after the other on one connection, a new one if it breaks, until one is refused."""
        for _ in range(at_most):
            try:
                async with await self.running.wire() as wire:
                    while granted[key] < at_most:
                        if (await asked(wire, key)).status == 429:
                            return
                        granted[key] += 1
                    return
            except (OSError, EOFError, WireError):
                continue

    async def control(self, method: str, path: str) -> Any:
        async with await Wire.connect_to(self.running.control) as wire:
            await wire.request(method, path)
            return (await wire.response()).json

    async def grant(self, key: str, granted: Counter[str], total: int) -> None:
        """Ask on several connections at once until so many were granted, and then until one is refused."""
        async with asyncio.timeout(60):
            while granted[key] < total:
                await asyncio.gather(*(self.ask_for(key, granted) for _ in range(PROCESSES)))
        await self.ask_for(key, granted)

    async def used(self, rate: str) -> Mapping[str, int]:
        keys = (await self.control("GET", "/keys"))["keys"]
        return {key["id"]: key["limits"][rate]["used"] for key in keys}


async def asked(wire: Wire, key: str) -> Response:
    body = {"model": "m", "prompt": "a", "max_tokens": 2}
    await wire.request("POST", "/v1/completions", body, {"authorization": f"Bearer {key}"})
    return await wire.response()


@asynccontextmanager
async def node(tmp_path: Path, limits: str, *, group: str = "") -> AsyncIterator[Node]:
    path = tmp_path / "models.toml"
    async with SimulatedEngine("m", uds=tmp_path / "engine") as engine:
        path.write_text(configuration(engine, limits, group))
        source = ConfigSource(lambda: load(path), (path,))
        gateway = Gateway(source.load(), tmp_path, StartupLog(io.StringIO()), source)
        await gateway.start()
        try:
            made = Node(gateway, path, engine)
            await made.running.until_ready(["m"])
            yield made
        finally:
            await gateway.stop()


async def test_each_key_gets_exactly_its_limit_over_all_processes(tmp_path: Path) -> None:
    async with node(tmp_path, f"requests_per_day = {LIMIT}") as here:
        granted: Counter[str] = Counter()
        await asyncio.gather(*(here.ask_for(key, granted) for key in KEYS for _ in range(2 * PROCESSES)))
        assert dict(granted) == dict.fromkeys(KEYS, LIMIT)
        assert (
            f'headgate_key_refusals_total{{group="team",reason="requests_per_day"}} {2 * PROCESSES * len(KEYS)}.0'
            in (await here.running.metrics())
        )


async def test_a_process_that_is_killed_takes_nothing_back_that_was_counted(tmp_path: Path) -> None:
    async with node(tmp_path, f"requests_per_day = {LIMIT}, max_in_flight = {PROCESSES}") as here:
        granted: Counter[str] = Counter()
        await here.ask_for("a", granted, at_most=LIMIT // 2)
        os.kill((await here.control("GET", "/status"))["processes"][0]["pid"], signal.SIGKILL)
        await here.ask_for("a", granted)
        # The connection may have been with the killed process, with a request of which nobody heard.
        assert LIMIT - 1 <= granted["a"] <= LIMIT
        assert await here.used("requests_per_day") == dict.fromkeys(KEYS, 0) | {"a": LIMIT}
        # What the killed process held is taken back when its parent has heard of its end.
        async with asyncio.timeout(60):
            while any((await here.used("max_in_flight")).values()):
                pass


async def test_tokens_are_settled_over_all_processes(tmp_path: Path) -> None:
    async with node(tmp_path, "tokens_per_day = 1000000") as here:
        for _ in range(2 * PROCESSES):
            async with await here.running.wire() as wire:
                response = await asked(wire, "a")
                assert response.header("x-ratelimit-limit-tokens") == "1000000"
                usage = response.json["usage"]["total_tokens"]
                # A process answers first and counts then; the next request of a connection comes after both.
                await wire.request("GET", "/v1/models", None, {"authorization": "Bearer a"})
                assert (await wire.response()).status == 200
        assert (await here.used("tokens_per_day"))["a"] == 2 * PROCESSES * usage


async def test_a_reload_changes_the_limits_of_all_processes_and_keeps_the_counts(tmp_path: Path) -> None:
    async with node(tmp_path, f"requests_per_day = {LIMIT}") as here:
        granted: Counter[str] = Counter()
        await here.grant("a", granted, LIMIT)
        assert granted["a"] == LIMIT
        here.reload(f"requests_per_day = {LIMIT + 10}")
        await here.grant("a", granted, LIMIT + 10)
        assert granted["a"] == LIMIT + 10
        assert await here.control("POST", "/keys/a/reset") == {"status": "reset"}
        await here.grant("a", granted, 2 * (LIMIT + 10))
        assert granted["a"] == 2 * (LIMIT + 10)


async def test_a_group_is_reset_for_all_its_keys_in_all_processes(tmp_path: Path) -> None:
    async with node(tmp_path, "", group=f"requests_per_day = {LIMIT}") as here:
        granted: Counter[str] = Counter()
        await asyncio.gather(*(here.ask_for(key, granted) for key in KEYS))
        assert granted.total() == LIMIT
        assert await here.control("POST", "/groups/team/reset") == {"status": "reset"}
        await asyncio.gather(*(here.ask_for(key, granted) for key in KEYS))
        assert granted.total() == 2 * LIMIT


async def test_a_group_that_is_not_there_cannot_be_reset(tmp_path: Path) -> None:
    async with node(tmp_path, "max_in_flight = 1") as here:
        assert await here.control("POST", "/groups/a/reset") == {
            "status": "unknown",
            "reason": "there is no group 'a'",
        }


async def test_a_key_that_is_not_there_cannot_be_reset(tmp_path: Path) -> None:
    async with node(tmp_path, "max_in_flight = 1") as here:
        assert await here.control("POST", "/keys/z/reset") == {
            "status": "unknown",
            "reason": "there is no key 'z'",
        }
