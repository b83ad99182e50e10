"""A child serves what it is told to serve, says what it must, and ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.config.schema import Config
from gateway.pools.build import PoolLayout, RegistryBuilder
from gateway.pools.replica import ReplicaState
from gateway.processes.acceptor import bound
from gateway.processes.cell_layout import ParentCounting, connection_rows
from gateway.processes.datagrams import socket_pairs
from gateway.processes.messages import (
    AnnounceEnd,
    Channel,
    Count,
    Counted,
    End,
    Idle,
    LengthUpdate,
    Message,
    NotStarted,
    ReplicaSuspected,
    ReplicaUpdate,
    Served,
    Serving,
    Setup,
    StopAccepting,
)
from gateway.processes.shared_cells import Cells
from tests.kit.gateways import remote
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow

M = TypeVar("M", bound=Message)


class Parent:
    """The parent's side of the talk with one child."""

    def __init__(self, address: str, process: asyncio.subprocess.Process) -> None:
        self.address = address
        self.process = process
        self.said: asyncio.Queue[Message] = asyncio.Queue()
        self.channel: Channel

    async def hears(self, kind: type[M]) -> M:
        message = await asyncio.wait_for(self.said.get(), 60)
        assert isinstance(message, kind), message
        return message

    def tell_ready(self, *, ready: bool) -> None:
        self.channel.send(ReplicaUpdate("m-0", state=ReplicaState.READY if ready else ReplicaState.FAILING, reason=""))


def serving(config: Config) -> Served:
    """Describe what is served of a configuration whose only model is ``m``, at one address."""
    return Served(
        config=config.model_dump_json(exclude_unset=True).encode(),
        pools={"m": PoolLayout("m", (("m-0", "http://127.0.0.1:1", ""),))},
        replicas=[ReplicaUpdate("m-0", state=ReplicaState.STARTING, reason="")],
        lengths=[LengthUpdate("m", None)],
    )


@asynccontextmanager
async def child(**settings: Any) -> AsyncIterator[Parent]:
    """Start a child, the first of two, and give it its setup."""
    base = {"listen": "127.0.0.1:0", "access_log": "off", "processes": 2}
    models = {"m": remote("http://127.0.0.1:1", hold=0)}
    config = Config.model_validate({"gateway": base | settings, "models": models})
    (holder,) = await bound("127.0.0.1", 0, shared=True)
    listen = f"127.0.0.1:{holder.getsockname()[1]}"
    cells = Cells.create(connection_rows(2), 2)
    RegistryBuilder(ParentCounting(cells, lambda _: None)).build(config)
    receivers, senders = socket_pairs(2)
    ours, theirs = socket.socketpair()
    inherited = [theirs.fileno(), cells.fd, *(each.fileno() for each in (*receivers, *senders))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.processes", str(theirs.fileno()), str(os.getpid())), pass_fds=inherited
    )
    theirs.close()
    parent = Parent(f"http://{listen}", process)
    _, parent.channel = await asyncio.get_running_loop().create_connection(
        lambda: Channel(parent.said.put_nowait, lambda: None), sock=ours
    )
    parent.channel.send(
        Setup(
            own=0,
            serves=serving(config),
            listen=listen,
            version="1.2",
            cells=cells.fd,
            rows=cells.names,
            receiver=receivers[0].fileno(),
            senders=[each.fileno() for each in senders],
        )
    )
    # What is said right after the setup may come in the same read.
    parent.channel.send(LengthUpdate("m", 7))
    try:
        yield parent
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        parent.channel.close()
        for each in (holder, *receivers, *senders):
            each.close()
        cells.close()


async def test_a_child_serves_counts_becomes_idle_and_ends() -> None:
    async with child() as parent:
        await parent.hears(Serving)
        async with await Wire.connect_to(parent.address) as wire:
            await wire.request("GET", "/version")
            assert (await wire.response()).json == {"version": "1.2"}
        parent.channel.send(Count())
        counted = await parent.hears(Counted)
        assert counted.snapshot.requests == {("unknown", "/version", 200): 1}
        parent.channel.send(AnnounceEnd())
        parent.channel.send(StopAccepting())
        await parent.hears(Idle)
        parent.channel.send(End())
        await parent.hears(Counted)
        assert await parent.process.wait() == 0


async def test_what_the_parent_says_of_replicas_and_models_holds() -> None:
    async def cards(wire: Wire) -> list[tuple[str, int | None]]:
        await wire.request("GET", "/v1/models")
        return [(card["id"], card.get("max_model_len")) for card in (await wire.response()).json["data"]]

    async with child() as parent:
        await parent.hears(Serving)
        async with await Wire.connect_to(parent.address) as wire:
            assert await cards(wire) == []
            for length in (7, 512):
                parent.tell_ready(ready=True)
                async with asyncio.timeout(60):
                    while await cards(wire) != [("m", length)]:
                        pass
                parent.channel.send(LengthUpdate("m", 512))
            parent.tell_ready(ready=False)
            async with asyncio.timeout(60):
                while await cards(wire):
                    pass


async def test_a_child_says_that_a_replica_gives_no_answers() -> None:
    async with child() as parent:
        await parent.hears(Serving)
        parent.tell_ready(ready=True)
        async with await Wire.connect_to(parent.address) as wire:
            statuses = set()
            while parent.said.empty():
                await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a"})
                statuses.add((await wire.response()).status)
        doubt = await parent.hears(ReplicaSuspected)
        assert doubt == ReplicaSuspected("m-0", "failures", "The engine refused the connection: Connection refused.")
        assert 502 in statuses


async def test_the_limit_of_connections_is_divided_among_the_processes() -> None:
    async with child(limits={"max_connections": 3}) as parent, AsyncExitStack() as stack:
        await parent.hears(Serving)
        statuses = []
        for _ in range(3):
            wire = await stack.enter_async_context(await Wire.connect_to(parent.address))
            await wire.request("GET", "/version")
            statuses.append((await wire.response()).status)
        assert statuses == [200, 200, 503]


async def test_a_child_that_cannot_serve_says_why(tmp_path: Path) -> None:
    async with child(access_log=str(tmp_path / "none" / "log")) as parent:
        assert "(gateway.access_log): No such file" in (await parent.hears(NotStarted)).reason
        assert await parent.process.wait() == 1
