"""Thousands of requests while clients leave, answers go wrong, engines die and the configuration changes.

``make chaos`` makes a hundred thousand of them; see ``HEADGATE_CHAOS_REQUESTS`` and ``HEADGATE_CHAOS_SEED``.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import uvloop

from gateway.app import Gateway
from gateway.config.load import load
from gateway.console.startup_log import StartupLog
from gateway.exchange.attempt import Attempt
from gateway.exchange.exchange import Exchange
from gateway.http.client_connection import ClientConnection
from gateway.http.upstream import UpstreamConnection
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState
from gateway.reload.reloader import ConfigSource
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import Cut, Faults
from tests.faults.chaos_clients import Client, Tally, WatchedEngine
from tests.kit.gateways import RunningGateway
from tests.kit.leaks import nothing_left, open_files, open_tasks
from tests.kit.wire import WireError

REQUESTS = int(os.environ.get("HEADGATE_CHAOS_REQUESTS", "8000"))
CLIENTS = 80
REPLICAS = 6
FEWEST = 2
"""As many replicas are left at least when the configuration takes some away."""

RECOVERED_WITHIN = 60.0
"""Seconds after the last fault within which a hundred requests in a row must have been answered."""

MISFORTUNES = Faults(
    mix=(
        Faults(probability=0.10, segment_bytes=40),
        Faults(probability=0.03, status=500),
        Faults(probability=0.03, status=503),
        Faults(probability=0.02, status=429),
        Faults(probability=0.02, garbage=True),
        Faults(probability=0.02, length_error=50),
        Faults(probability=0.02, both_lengths=True),
        Faults(probability=0.02, cut_body_after=20),
        Faults(probability=0.02, cut_after=1, cut=Cut.END),
        Faults(probability=0.02, cut_after=2, cut=Cut.CLOSE),
        Faults(probability=0.02, cut_after=2, cut=Cut.RESET),
        Faults(probability=0.02, cut_after=1, cut=Cut.MID_EVENT),
        Faults(probability=0.02, error_after=2),
        Faults(probability=0.02, close_after_answer=True),
        Faults(probability=0.01, hang_after=1),
        Faults(probability=0.01, silent=True),
        Faults(probability=0.005, crash_after=1),
    ),
    close_idle_after=0.05,
)
"""What a third of the requests suffer at an engine; all engines also close connections that stay idle."""

WELL = (ReplicaState.READY, ReplicaState.HALF_OPEN)

COUNTED = (Exchange, Attempt, ClientConnection, UpstreamConnection, Pool, Replica, Registry)
"""Of which objects there are as many after the chaos as before it."""


class Chaos:
    """A gateway whose configuration is a file, in front of engines some of which it knows."""

    def __init__(self, folder: Path, engines: list[WatchedEngine], draw: random.Random, tally: Tally) -> None:
        self.engines = engines
        self.draw = draw
        self.tally = tally
        self.log = folder / "access.log"
        self._path = folder / "models.toml"
        self._folder = folder
        self.configure(engines)

    def configure(self, engines: list[WatchedEngine]) -> None:
        """Write the configuration with these engines."""
        urls = json.dumps([engine.address for engine in engines])
        self._path.write_text(
            f"""
[gateway]
listen = "127.0.0.1:0"
control = "127.0.0.1:0"
access_log = "{self.log}"
[gateway.files]
folder = "{self._folder / "files"}"
[gateway.timeouts]
first_byte = 0.3
between_bytes = 0.3
queue = 0.5
[models.m]
engine = "remote"
urls = {urls}
health_interval = 0.05
max_in_flight = 40
max_queue = 30
recovery = true
"""
        )

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[RunningGateway]:
        """Run it."""
        source = ConfigSource(lambda: load(self._path), (self._path,))
        built = Gateway(source.load(), self._folder, StartupLog(io.StringIO()), source)
        await built.start()
        try:
            running = RunningGateway(built)
            await running.until_ready(["m"])
            # The folder of files is opened when it is first needed, and stays open.
            async with await running.wire() as wire:
                await wire.request("GET", "/v1/files")
                assert (await wire.response()).status == 200
            yield running
        finally:
            await built.stop()

    async def kill_and_revive(self) -> None:
        """Crash an engine now and then, and start again all that have crashed."""
        while True:
            await asyncio.sleep(0.02 + self.draw.random() * 0.2)
            engine = self.draw.choice(self.engines)
            if engine.listening and self.draw.random() < 0.3:
                engine.crash()
            for each in self.engines:
                if not each.listening:
                    self.tally.crashes += 1
                    await each.restart()

    async def reconfigure(self, gateway: Gateway) -> None:
        """Take replicas away and bring them back, drain one, and now and then get the configuration wrong."""
        while True:
            await asyncio.sleep(0.1 + self.draw.random() * 0.3)
            self.configure(self.draw.sample(self.engines, self.draw.randrange(FEWEST, REPLICAS + 1)))
            # The first one is wrong: there may be so few that by chance none would be.
            way = self.draw.random() if self.tally.refused_reloads else 0.0
            if way < 0.2:
                self._path.write_text(self._path.read_text() + 'policy = "none"\n')
                assert gateway.commands.reload().problems
                self.tally.refused_reloads += 1
            else:
                assert gateway.commands.reload().successful
                self.tally.reloads += 1
            if way > 0.8:
                (pool,) = gateway.plane.registry.pools
                gateway.commands.drain_replica(self.draw.choice(pool.replicas).name)

    async def storm(self, running: RunningGateway) -> None:
        """Have all clients ask at the same time until all requests are made."""
        numbers = iter(range(REQUESTS))

        async def client(own: random.Random) -> None:
            asking = Client(running, own, self.tally)
            for number in numbers:
                await asking.ask(f"chaos-{number}")
            await asking.close()

        for engine in self.engines:
            engine.faults = MISFORTUNES
        troubles = [
            asyncio.create_task(self.kill_and_revive()),
            asyncio.create_task(self.reconfigure(running.gateway)),
        ]
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(random.Random(self.draw.random())))
        for trouble in troubles:
            trouble.cancel()
        for ended in await asyncio.gather(*troubles, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended
        for engine in self.engines:
            engine.faults = Faults()
            if not engine.listening:
                await engine.restart()
        # One that was drained by hand comes back only after its address was gone.
        half = len(self.engines) // 2
        for engines in (self.engines[:half], self.engines[half:], self.engines):
            self.configure(engines)
            assert running.gateway.commands.reload().successful


async def recovered(running: RunningGateway) -> float:
    """Ask until a hundred requests in a row are answered; return the seconds until the first of them."""
    began = last_failure = perf_counter()
    in_a_row = 0
    while in_a_row < 100:
        try:
            async with await running.wire() as wire:
                await wire.request("POST", "/tokenize", {"model": "m", "prompt": "a"})
                status = (await wire.response()).status
        except WireError:
            status = 0
        in_a_row += 1
        if status != 200:
            in_a_row, last_failure = 0, perf_counter()
            assert last_failure - began < RECOVERED_WITHIN, f"{running!r}: still {status}"
    return last_failure - began


async def eventually(condition: Callable[[], object], what: Callable[[], str], looks: int = 6_000) -> None:
    """Wait until a condition holds; say what is when it does not at so many looks."""
    for _ in range(looks):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(what())


def alive() -> Counter[str]:
    """Count the objects that a leak would keep."""
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, COUNTED))


def resident_kib() -> int:
    """Return this process's resident memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


async def chaos(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    tally = Tally()
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(
                WatchedEngine(
                    tally,
                    "m",
                    uds=folder / f"{n}.sock",
                    seed=seed + n,
                    timing=Timing(ttft=0.002, inter_token=0.001),
                )
            )
            for n in range(REPLICAS)
        ]
        here = Chaos(folder, engines, draw, tally)
        running = await stack.enter_async_context(here.gateway())
        files, tasks, objects, memory = len(open_files()), len(open_tasks()), alive(), resident_kib()
        began = perf_counter()
        await here.storm(running)
        seconds = perf_counter() - began
        recovery = await recovered(running)
        (pool,) = running.gateway.plane.registry.pools

        def still_there() -> str:
            connections = [repr(replica.connections) for replica in pool.replicas]
            return f"{running!r} {connections} {engines} {len(open_files())} of {files} files, {sorted(open_tasks())}"

        def as_at_the_start() -> bool:
            in_flight = [replica.in_flight for replica in pool.replicas]
            return (
                in_flight == [0] * REPLICAS
                and (pool.admission.running, pool.admission.waiting, pool.tokens_in_flight) == (0, 0, 0)
                and all("[0 open, 0 idle]" in repr(replica.connections) for replica in pool.replicas)
                and all((engine.running, engine.waiting, engine.connections) == (0, 0, 0) for engine in engines)
                and len(open_files()) <= files
                and len(open_tasks()) <= tasks
            )

        # One that was ejected is ready again with the next request.
        await eventually(lambda: all(replica.state in WELL for replica in pool.replicas), still_there)
        for replica in pool.replicas:
            replica.connections.tick(float("inf"))
        await eventually(as_at_the_start, still_there)
        metrics = await running.metrics()
        # Each look collects the garbage of the whole test run, which may take half a second.
        await eventually(lambda: alive() <= objects, lambda: f"{alive()} are more than {objects}", looks=100)
        grown = resident_kib() - memory
        print(  # noqa: T201 - what docs/resilience.md says of a run
            f"{REQUESTS} requests in {seconds:.0f} s: {Counter(tally.statuses.values())}, {len(tally.left)} left, "
            f"{tally.broken_streams} broken streams, {tally.crashes} crashes, {tally.reloads} reloads, "
            f"{tally.refused_reloads} refused; recovered after {recovery:.2f} s; {grown / 1024:.0f} MiB more"
        )
    assert tally.sent_again == []
    # What the test itself keeps of each request is under a kibibyte.
    assert grown < 64 * 1024 + REQUESTS
    check_counts(tally, metrics, [json.loads(line) for line in here.log.read_text().splitlines()])


def check_counts(tally: Tally, metrics: str, lines: list[dict[str, Any]]) -> None:
    """Check that each request is counted once, under the status that its client saw."""
    samples = re.findall(
        r'^headgate_requests_total\{code="(\d+)",endpoint="([^"]+)",model="[^"]+"\} (\d+)', metrics, re.M
    )
    counted: Counter[tuple[int, str]] = Counter()
    for code, endpoint, number in samples:
        counted[int(code), endpoint] += int(number)
    ours = [line for line in lines if line["request_id"].startswith("chaos-")]
    logged = {line["request_id"]: line for line in ours}
    assert len(logged) == len(ours)
    assert +counted == Counter((line["status"], line.get("endpoint", "unknown")) for line in lines)
    assert len(tally.statuses) + len(tally.left) == REQUESTS
    assert logged.keys() >= tally.statuses.keys()
    assert logged.keys() <= tally.statuses.keys() | tally.left
    for request_id, status in tally.statuses.items():
        line = logged[request_id]
        assert line["status"] == status or (status == 200 and line["stream"] and line["status"] >= 400)
    mismatches = re.findall(r"^headgate_lease_mismatch_total\{.*\} (.*)$", metrics, re.M)
    assert {float(value) for value in mismatches} == {0.0}
    gauges = re.findall(r"^headgate_(?:requests_running|requests_waiting|tokens_in_flight)\{.*\} (.*)$", metrics, re.M)
    assert [float(value) for value in gauges] == [0.0] * 3
    assert re.findall(r"^headgate_replica_in_flight\{.*\} (.*)$", metrics, re.M) == ["0.0"] * REPLICAS
    seen = Counter(tally.statuses.values())
    assert {200, 400, 404, 502, 503} <= seen.keys()
    assert tally.crashes > 5
    assert tally.reloads > 5
    assert tally.refused_reloads > 0
    assert tally.broken_streams > REQUESTS / 100
    recovered = re.search(r'^headgate_stream_recoveries_total\{.*outcome="recovered"\} (.*)$', metrics, re.M)
    assert recovered is not None
    # About two in a thousand requests are; how many exactly is chance.
    assert float(recovered[1]) > REQUESTS / 4000


@pytest.mark.slow
def test_thousands_of_requests_in_chaos_leave_nothing_behind(tmp_path_factory: pytest.TempPathFactory) -> None:
    seed = int(os.environ.get("HEADGATE_CHAOS_SEED") or random.randrange(10**9))
    print(f"HEADGATE_CHAOS_SEED={seed}")  # noqa: T201 - it repeats what failed

    async def run() -> list[dict[str, Any]]:
        mistakes: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
        async with nothing_left():
            await chaos(tmp_path_factory.mktemp("c"), seed)
        return mistakes

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == []
