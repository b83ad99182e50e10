"""Several processes are one gateway: one limit, one queue, one set of metrics, and one end, whoever of them dies."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from loadtest.simulator import SimulatedEngine, Timing
from tests.engines.onnx.tiny import write_embedder
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire, WireError

pytestmark = pytest.mark.slow

PROCESSES = 4
LIMIT = 6
COUNTER = re.compile(r"^(headgate_\w+(?:_total|_count|_bucket)(?:\{.*\})?) (\S+)$", re.M)
ASKED = {"model": "m", "prompt": "a", "max_tokens": 2}


class Peak:
    """The most requests that an engine had at the same time since it was last looked at."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self.most = 0
        self._watching = asyncio.create_task(engine.until(self._look))

    def _look(self, engine: SimulatedEngine) -> bool:
        self.most = max(self.most, engine.running + engine.waiting)
        return False

    async def stop(self) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])


async def status(running: RunningGateway) -> Any:
    async with await Wire.connect_to(running.control) as wire:
        await wire.request("GET", "/status")
        return (await wire.response()).json


async def pids(running: RunningGateway) -> list[int]:
    return [each["pid"] for each in (await status(running))["processes"] if each["serving"]]


async def eventually(running: RunningGateway, holds: Callable[[Any], bool]) -> Any:
    """Look at the status until it is as expected, and return it."""
    seen: Any = None
    try:
        async with asyncio.timeout(60):
            while not holds(seen := await status(running)):  # noqa: ASYNC110 - a status tells nobody that it changed
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still {seen}") from None
    return seen


async def serves(engine: SimulatedEngine, requests: int) -> None:
    """Wait until an engine has served so many requests more."""
    enough = engine.counts.served + requests
    await engine.until(lambda each: each.counts.served >= enough, 60)


def stopped_with_lock(pid: int) -> bool:
    """Stop a process, and tell whether it holds a lock on a part of a file, by ``proc_locks(5)``."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    locks = (line.split()[1:5] for line in Path("/proc/locks").read_text().splitlines())
    return any(kind == "POSIX" and holder == str(pid) for kind, _, _, holder in locks)


async def stop(engine: SimulatedEngine, pid: int, *, with_lock: bool) -> None:
    """Stop a process at a moment at which it holds a lock, or none, while requests go on."""
    while stopped_with_lock(pid) is not with_lock:
        os.kill(pid, signal.SIGCONT)
        await serves(engine, 1)


def without(pid: int) -> Callable[[Any], bool]:
    """Tell whether a process is no longer among those that the status shows."""
    return lambda seen: pid not in [each["pid"] for each in seen["processes"]]


def is_idle(seen: Any) -> bool:
    (model,) = seen["models"]
    (replica,) = model["replicas"]
    return (model["running"], model["waiting"], replica["in_flight"]) == (0, 0, 0)


class Clients:
    """Clients that ask one request after the other until they are told that it is enough."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Wire]], count: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.lost = 0
        self.enough = False
        self._connect = connect
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(count)]

    async def end(self) -> None:
        self.enough = True
        await asyncio.gather(*self._tasks)

    async def _ask(self) -> None:
        while not self.enough:
            try:
                async with await self._connect() as wire:
                    while not self.enough:
                        await wire.request("POST", "/v1/completions", ASKED)
                        self.statuses[(await wire.response()).status] += 1
            except (OSError, EOFError, WireError):
                self.lost += 1


@asynccontextmanager
async def node(
    folder: Path, timing: Timing, drain_timeout: float = 5.0, **model: Any
) -> AsyncIterator[tuple[SimulatedEngine, RunningGateway]]:
    """Run four processes in front of one engine."""
    async with (
        SimulatedEngine("m", uds=folder / "engine", timing=timing) as engine,
        gateway({"m": remote(engine.address, **model)}, processes=PROCESSES, drain_timeout=drain_timeout) as running,
    ):
        yield engine, running


async def test_one_limit_holds_for_all_processes_under_load(tmp_path: Path) -> None:
    async with node(tmp_path, Timing(ttft=0.005), max_in_flight=LIMIT) as (engine, running):
        peak, clients = Peak(engine), Clients(running.wire, 32)
        await serves(engine, 600)
        seen = await status(running)
        assert seen["models"][0]["running"] <= LIMIT
        await clients.end()
        await peak.stop()
        assert (set(clients.statuses), clients.lost) == ({200}, 0)
        assert peak.most == LIMIT
        await eventually(running, is_idle)


async def test_the_limit_of_the_queue_holds_for_all_processes(tmp_path: Path) -> None:
    async with (
        node(tmp_path, Timing(ttft=60.0), max_in_flight=2, max_queue=3) as (_, running),
        AsyncExitStack() as stack,
    ):
        wires = [await stack.enter_async_context(await running.wire()) for _ in range(9)]
        for wire in wires:
            await wire.request("POST", "/v1/completions", ASKED)
        answers = [asyncio.create_task(wire.response()) for wire in wires]
        refused, waiting = set[Any](), set(answers)
        while len(refused) < 4:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        assert {task.result().json["error"]["code"] for task in refused} == {"queue_full"}
        (model,) = (await status(running))["models"]
        assert (model["running"], model["waiting"]) == (2, 3)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


@pytest.mark.slow
async def test_a_killed_process_takes_nothing_with_it_but_its_own_requests(tmp_path: Path) -> None:
    async with node(tmp_path, Timing(ttft=0.005), max_in_flight=LIMIT) as (engine, running):
        clients = Clients(running.wire, 32)
        for _ in range(3):
            before = await pids(running)
            os.kill(before[0], signal.SIGKILL)
            # The engine learns of the end of a connection a moment later than the parent of the end of a process.
            await eventually(running, without(before[0]))
            peak = Peak(engine)
            await serves(engine, 300)
            await peak.stop()
            assert peak.most <= LIMIT
            await eventually(running, lambda seen: all(each["serving"] for each in seen["processes"]))
        await clients.end()
        assert set(clients.statuses) == {200}
        assert 0 < clients.lost <= 3 * 32
        await eventually(running, is_idle)
        await engine.until(lambda each: each.running == each.waiting == 0)
        again = Clients(running.wire, 16)
        peak = Peak(engine)
        await serves(engine, 200)
        await again.end()
        await peak.stop()
        assert (set(again.statuses), again.lost, peak.most) == ({200}, 0, LIMIT)


async def test_who_waits_in_another_process_gets_the_slots_of_a_killed_one(tmp_path: Path) -> None:
    async with (
        node(tmp_path, Timing(ttft=60.0), max_in_flight=1) as (engine, running),
        await running.wire() as first,
    ):
        await first.request("POST", "/v1/completions", ASKED)
        await engine.until(lambda each: each.running == 1)
        seen = await eventually(running, lambda seen: sum(e["connections"] for e in seen["processes"]) == 1)
        (holder,) = [each["pid"] for each in seen["processes"] if each["connections"]]
        async with await running.wire() as second:
            await second.request("POST", "/v1/completions", ASKED)
            await eventually(running, lambda seen: seen["models"][0]["waiting"] == 1)
            engine.timing = Timing()
            os.kill(holder, signal.SIGKILL)
            with pytest.raises((WireError, OSError, EOFError)):
                await first.response()
            assert (await second.response()).status == 200
        await engine.until(lambda each: each.counts.aborted == 1)


@pytest.mark.slow
async def test_metrics_add_up_and_never_go_backwards(tmp_path: Path) -> None:
    def counters(text: str) -> dict[str, float]:
        return {name: float(value) for name, value in COUNTER.findall(text) if "lag" not in name}

    async with node(tmp_path, Timing()) as (engine, running):
        asked = 0
        before = counters(await running.metrics())
        for _ in range(3):
            clients = Clients(running.wire, 16)
            await serves(engine, 200)
            await clients.end()
            assert clients.lost == 0
            asked += clients.statuses[200]
            after = counters(await running.metrics())
            assert after['headgate_requests_total{code="200",endpoint="/v1/completions",model="m"}'] == asked
            assert after['headgate_queue_duration_seconds_count{model="m"}'] == asked
            assert after['headgate_tokens_total{model="m",type="output"}'] == 2 * asked
            os.kill((await pids(running))[0], signal.SIGKILL)
            await eventually(running, lambda seen: not all(each["serving"] for each in seen["processes"]))
            dead = counters(await running.metrics())
            await eventually(running, lambda seen: all(each["serving"] for each in seen["processes"]))
            again = counters(await running.metrics())
            for earlier, later in ((before, after), (after, dead), (dead, again)):
                assert {name for name, value in earlier.items() if later[name] < value} == set()
            before = again


async def test_connections_are_spread_evenly(tmp_path: Path) -> None:
    async with node(tmp_path, Timing()) as (_, running), AsyncExitStack() as stack:
        for _ in range(32):
            wire = await stack.enter_async_context(await running.wire())
            await wire.request("GET", "/health")
            await wire.response()
        seen = await eventually(running, lambda seen: sum(e["connections"] for e in seen["processes"]) == 32)
        # One that gets no core for a moment leaves a connection to another.
        assert all(7 <= each["connections"] <= 9 for each in seen["processes"]), seen["processes"]


async def test_a_drain_lets_all_processes_finish(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        engine, running = await stack.enter_async_context(
            # All of this test is to be over before the streams end, and they before the drain does.
            node(tmp_path, Timing(inter_token=1.0), max_in_flight=PROCESSES, drain_timeout=600.0)
        )
        wires = [await stack.enter_async_context(await running.wire()) for _ in range(2 * PROCESSES)]
        asked = ASKED | {"stream": True, "max_tokens": 8}
        for wire in wires[:PROCESSES]:
            await wire.request("POST", "/v1/completions", asked)
            assert (await wire.head()).status == 200
        for wire in wires[PROCESSES:]:
            await wire.request("POST", "/v1/completions", asked)
        await eventually(running, lambda seen: seen["models"][0]["waiting"] == PROCESSES)
        await running.gateway.stop()
        for wire in wires[:PROCESSES]:
            assert [event async for event in wire.events()][-1] == b"data: [DONE]"
        for wire in wires[PROCESSES:]:
            answer = await wire.response()
            assert (answer.status, answer.json["error"]["code"]) == (503, "shutting_down")
        assert engine.aborted == 0


async def test_what_outlasts_the_drain_ends_with_an_error(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine", timing=Timing(inter_token=30.0)) as engine,
        gateway({"m": remote(engine.address)}, processes=2, drain_timeout=0.1) as running,
        await running.wire() as wire,
    ):
        await wire.request("POST", "/v1/completions", ASKED | {"stream": True})
        assert (await wire.head()).status == 200
        await running.gateway.stop()
        *_, error, done = [event async for event in wire.events()]
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
        assert done == b"data: [DONE]"
        await engine.until(lambda each: each.aborted == 1)


async def test_all_processes_speak_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    tls: dict[str, Any] = dict.fromkeys(("tls_certificate", "tls_key"), tmp_path / "both.pem")
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address)}, processes=2, **tls) as running,
        AsyncExitStack() as stack,
    ):
        assert running.address.startswith("https://")
        port = int(running.address.rpartition(":")[2])
        for _ in range(4):
            wire = Wire(*await asyncio.open_connection("127.0.0.1", port, ssl=trusting))
            await stack.enter_async_context(wire)
            await wire.request("POST", "/v1/completions", ASKED)
            assert (await wire.response()).status == 200
        seen = await eventually(running, lambda seen: sum(e["connections"] for e in seen["processes"]) == 4)
        assert all(each["connections"] for each in seen["processes"])
        # One that speaks something else is no business of the others'.
        async with await running.wire() as plain:
            await plain.request("GET", "/health")
            assert not (await plain.rest()).startswith(b"HTTP/")
        await wire.request("GET", "/health")
        assert (await wire.response()).status == 200


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        nothing_left(),
        gateway({"m": remote(engine.address)}, processes=2) as running,
        await running.wire() as wire,
    ):
        await wire.request("POST", "/v1/completions", ASKED)
        assert (await wire.response()).status == 200


@pytest.mark.slow
async def test_lines_of_the_log_stay_whole_in_a_pipe_that_all_processes_share(tmp_path: Path) -> None:
    async with SimulatedEngine("m", port=0) as engine, serving(engine, tmp_path) as (process, address, _):
        clients = Clients(lambda: Wire.connect_to(address), 32)
        await serves(engine, 500)
        await clients.end()
        process.send_signal(signal.SIGTERM)
        text, _ = await process.communicate()
        assert process.returncode == 0
    lines = [json.loads(line) for line in text.splitlines() if line.startswith(b"{")]
    ids = [line["request_id"] for line in lines if line["path"] == "/v1/completions"]
    assert len(ids) == len(set(ids)) == sum(clients.statuses.values())
    assert len({each.rpartition("-")[0] for each in ids}) == PROCESSES


@pytest.mark.slow
async def test_a_stuck_process_keeps_nobody_else_waiting_for_ever(tmp_path: Path) -> None:
    async with node(tmp_path, Timing(ttft=0.01), max_in_flight=LIMIT) as (engine, running):
        peak, clients = Peak(engine), Clients(running.wire, 3 * PROCESSES)
        await serves(engine, 100)
        stuck = (await pids(running))[0]
        for _ in range(3):
            # It may hold slots, though not all of them, or be the one whose turn it is.
            await stop(engine, stuck, with_lock=False)
            await serves(engine, 50)
            os.kill(stuck, signal.SIGCONT)
            await serves(engine, 50)
        await clients.end()
        await peak.stop()
        assert (set(clients.statuses), clients.lost, peak.most) == ({200}, 0, LIMIT)


@pytest.mark.slow
async def test_a_process_that_is_stopped_with_a_lock_is_ended_and_the_others_go_on(tmp_path: Path) -> None:
    async with node(tmp_path, Timing(ttft=0.001), max_in_flight=LIMIT) as (engine, running):
        clients = Clients(running.wire, 3 * PROCESSES)
        await serves(engine, 100)
        stopped = (await pids(running))[0]
        await stop(engine, stopped, with_lock=True)
        await serves(engine, 100)
        seen = await eventually(running, lambda seen: len([e for e in seen["processes"] if e["serving"]]) == PROCESSES)
        assert stopped not in [each["pid"] for each in seen["processes"]]
        await clients.end()
        assert set(clients.statuses) == {200}
        await eventually(running, is_idle)
        await eventually(running, is_idle)


@pytest.mark.slow
async def test_an_engine_that_is_started_here_serves_all_processes_and_outlives_each(tmp_path: Path) -> None:
    model = write_embedder(tmp_path)
    models = {"m": {"engine": "onnx", "tasks": ["embed"], "source": str(model), "health_interval": 0.05}}
    async with gateway(models, processes=2, ready=[]) as running:
        await running.gateway.fleet.settle()
        for _ in range(2):
            seen = await eventually(running, lambda seen: all(each["serving"] for each in seen["processes"]))
            assert seen["models"][0]["replicas"][0]["state"] == "ready"
            async with await running.wire() as first, await running.wire() as second:
                for wire in (first, second):
                    await wire.request("POST", "/v1/embeddings", {"model": "m", "input": "good"})
                    assert (await wire.response()).status == 200
            gone = seen["processes"][0]["pid"]
            os.kill(gone, signal.SIGKILL)
            await eventually(running, without(gone))


@pytest.mark.slow
async def test_when_the_parent_is_killed_no_process_is_left(tmp_path: Path) -> None:
    async with SimulatedEngine("m", port=0) as engine, serving(engine, tmp_path) as (process, address, control):
        async with await Wire.connect_to(control) as wire:
            await wire.request("GET", "/status")
            children = [each["pid"] for each in (await wire.response()).json["processes"]]
        assert len(children) == PROCESSES
        # One that is stopped can read no message and see no end of a socket.
        os.kill(children[0], signal.SIGSTOP)
        process.kill()
        await process.wait()
        async with asyncio.timeout(60):
            while alive(children):  # noqa: ASYNC110 - not our children
                await asyncio.sleep(0.01)
        with pytest.raises(OSError):  # noqa: PT011 - whichever way it is not there
            await Wire.connect_to(address)


def alive(pids: list[int]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


@asynccontextmanager
async def serving(engine: SimulatedEngine, folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    """Run ``headgate serve --processes`` as a person does; give it, its address and its control port's."""
    (folder / "models.toml").write_text(
        '[gateway]\nlisten = "127.0.0.1:0"\ncontrol = "127.0.0.1:0"\n'
        f'[models.m]\nengine = "remote"\nurls = ["{engine.address}"]\n'
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--processes", str(PROCESSES)),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            async for line in process.stdout:
                if told := re.search(rb"serves at (\S+) .*probes at ([^)\s]+)", line):
                    break
        assert told is not None
        yield process, told[1].decode(), told[2].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
