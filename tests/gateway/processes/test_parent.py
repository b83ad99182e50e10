"""The several is used like one data plane: it starts or says why not, is ready or says why not, and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from time import monotonic
from typing import cast

import pytest

from gateway.config.schema import Config
from gateway.core.start_error import StartError
from gateway.pools.replica import ReplicaState
from gateway.processes.parent import Parent
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.faults import NO_FAULTS, Faults
from tests.kit.gateways import remote
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow


def several(*urls: str, **settings: object) -> Parent:
    base = {"listen": "127.0.0.1:0", "access_log": "off", "processes": 2}
    model = remote(*(urls or ("http://127.0.0.1:1",)), hold=0)
    config = Config.model_validate({"gateway": base | settings, "models": {"m": model}})
    return Parent(config, "1.2", "", lambda _: None)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is looked at tells nobody that it changed
            await asyncio.sleep(0.01)


def pids(made: Parent) -> list[int]:
    return [cast(int, each["pid"]) for each in made.processes]


async def test_a_port_that_another_listens_on_is_not_shared_with_it() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with nothing_left():
            made = several(listen=address)
            with pytest.raises(StartError, match=rf"Cannot listen on {address} \(gateway\.listen\): .*in use"):
                await made.start()
            await made.stop()


async def test_what_a_process_cannot_do_at_the_start_ends_the_start() -> None:
    async with nothing_left():
        made = several(access_log="/dev/null/log")
        with pytest.raises(StartError, match=r"Cannot write to /dev/null/log \(gateway\.access_log\): Not a directory"):
            await made.start()
        await made.stop()


async def ask(wire: Wire, times: int = 1) -> set[int]:
    statuses = set()
    for _ in range(times):
        await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a"})
        statuses.add((await wire.response()).status)
    return statuses


async def test_what_one_process_finds_of_a_replica_counts_for_all_and_one_request_of_all_tries_it(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        bad, good = [
            await stack.enter_async_context(SimulatedEngine("m", uds=tmp_path / f"{name}.sock")) for name in "ab"
        ]
        made = several(bad.address, good.address)
        await made.start()
        (pool,) = made.registry.pools
        for replica in pool.replicas:
            replica.set_state(ReplicaState.READY)
        suspect = pool.replicas[0]
        wires = [await stack.enter_async_context(await Wire.connect_to(made.address)) for _ in range(4)]
        bad.faults = Faults(refuse=True)
        async with asyncio.timeout(60):
            while suspect.state is not ReplicaState.EJECTED:
                await ask(wires[0])
        bad.faults = NO_FAULTS
        suspect.probe_succeeded(suspect.ejection.until if suspect.ejection else 0.0)
        assert pool.half_open == [suspect]
        bad.faults = Faults(silent=True)
        received = bad.counts.received
        tried = asyncio.create_task(bad.until(lambda engine: engine.counts.received > received))
        for wire in cycle(wires):
            asking = asyncio.create_task(ask(wire))
            await asyncio.wait({asking, tried}, return_when=asyncio.FIRST_COMPLETED)
            if tried.done():
                break
        # While that request is under way, all others of all processes go to the other replica.
        for other in wires:
            if other is not wire:
                assert await ask(other, 5) == {200}
        assert bad.counts.received == received + 1
        asking.cancel()
        await asyncio.wait([asking])
        await made.stop()


async def test_a_replica_is_drained_in_all_processes_and_then_gone() -> None:
    made = several()
    await made.start()
    (pool,) = made.registry.pools
    (replica,) = pool.replicas
    replica.set_state(ReplicaState.READY)
    pool.drain(replica)
    await until(lambda: made.registry.replicas == ())
    assert replica.state is ReplicaState.STOPPED
    async with await Wire.connect_to(made.address) as first, await Wire.connect_to(made.address) as second:
        for wire in (first, second):
            message = ""
            async with asyncio.timeout(60):
                while "has no ready replica (absent)" not in message:
                    await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a"})
                    message = (await wire.response()).json["error"]["message"]
    await made.stop()


async def test_a_stuck_process_is_seen_in_the_last_tick() -> None:
    made = several()
    await made.start()
    os.kill(pids(made)[1], signal.SIGSTOP)
    await until(lambda: monotonic() - made.last_tick > 0.5)
    os.kill(pids(made)[1], signal.SIGCONT)
    await until(lambda: monotonic() - made.last_tick < 0.5)
    await made.stop()


@pytest.mark.slow
async def test_without_any_process_nothing_can_be_asked_until_they_are_back() -> None:
    made = several()
    await made.start()
    assert made.troubles == ()
    for pid in pids(made):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: made.troubles == ("no process takes requests",))
    await until(lambda: all(each["serving"] for each in made.processes))
    async with await Wire.connect_to(made.address) as wire:
        await wire.request("GET", "/version")
        assert (await wire.response()).status == 200
    await made.stop()
