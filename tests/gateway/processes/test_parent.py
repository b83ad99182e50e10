"""The several is used like one data plane: it starts or says why not, is ready or says why not, and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from time import monotonic
from typing import cast

import pytest

from gateway.config.schema import Config
from gateway.data_plane import StartError
from gateway.pools.replica import ReplicaState
from gateway.processes.parent import Parent
from tests.kit.gateways import remote
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow


def several(**settings: object) -> Parent:
    base = {"listen": "127.0.0.1:0", "access_log": "off", "processes": 2}
    config = Config.model_validate({"gateway": base | settings, "models": {"m": remote("http://127.0.0.1:1", hold=0)}})
    return Parent(config, "1.2", "", lambda _: None)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
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


async def test_a_suspicion_of_one_process_counts_for_all_until_the_parent_knows_better() -> None:
    async def asked(wire: Wire) -> int:
        await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a"})
        return (await wire.response()).status

    made = several()
    await made.start()
    (pool,) = made.registry.pools
    (replica,) = pool.replicas
    async with await Wire.connect_to(made.address) as first, await Wire.connect_to(made.address) as second:
        for _ in range(2):
            replica.set_state(ReplicaState.READY)
            while replica.ready:
                assert await asked(first) in (502, 503)
            assert (replica.state, replica.in_flight) == ("failing", 0)
            async with asyncio.timeout(10):
                while await asked(second) != 503:
                    pass
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
            async with asyncio.timeout(10):
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
