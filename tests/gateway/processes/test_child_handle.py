"""A process that dies is started again, and whoever asked it something is not left waiting."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

import pytest

from gateway.config.schema import Config
from gateway.observe.counters import Snapshot
from gateway.pools.build import RegistryBuilder
from gateway.pools.ejection import Finding
from gateway.processes import child_handle
from gateway.processes.cell_layout import ParentCounting, connection_rows
from gateway.processes.child_handle import ChildHandle
from gateway.processes.datagrams import socket_pairs
from gateway.processes.messages import CancelAll, Served, Setup, StopAccepting
from gateway.processes.shared_cells import Cells
from tests.kit.gateways import remote

pytestmark = pytest.mark.slow


class ChildOwner:
    """One that leads a single process, and writes down what it hears."""

    def __init__(self, **settings: object) -> None:
        base = {"listen": "127.0.0.1:0", "access_log": "off"}
        self.config = Config.model_validate({"gateway": base | settings, "models": {"m": remote("http://127.0.0.1:1")}})
        self.cells = Cells.create(connection_rows(1), 1)
        self.builder = RegistryBuilder(ParentCounting(self.cells, lambda _: None))
        self.builder.build(self.config)
        self.receivers, self.senders = socket_pairs(1)
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.counts: list[Snapshot] = []
        self.dead = 0

    @property
    def inherited(self) -> Sequence[int]:
        return [self.cells.fd, self.receivers[0].fileno(), self.senders[0].fileno()]

    def setup(self, process: int) -> Setup:
        return Setup(
            own=process,
            serves=Served(
                config=self.config.model_dump_json(exclude_unset=True).encode(),
                pools=dict(self.builder.layout),
                replicas=[],
                lengths=[],
            ),
            listen=self.config.gateway.listen,
            version="1.2",
            cells=self.cells.fd,
            rows=self.cells.names,
            receiver=self.receivers[0].fileno(),
            senders=[self.senders[0].fileno()],
        )

    def confirmed(self, process: int, number: int) -> None:
        raise AssertionError("nothing is to be confirmed here")

    def suspect(self, replica: str, cause: Finding, reason: str) -> None:
        raise AssertionError("nothing is asked here")

    def readmit(self, replica: str) -> None:
        raise AssertionError("nothing is asked here")

    def counted(self, process: int, snapshot: Snapshot) -> None:
        self.counts.append(snapshot)

    def ended(self, process: int) -> None:
        self.dead += 1

    def say(self, text: str) -> None:
        self.said.put_nowait(text)

    def close(self) -> None:
        for each in (*self.receivers, *self.senders):
            each.close()
        self.cells.close()


async def test_a_killed_process_is_started_again_and_its_owner_hears_of_it() -> None:
    owner = ChildOwner()
    process = ChildHandle(0, owner)
    assert await process.start() == ""
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    told = [await asyncio.wait_for(owner.said.get(), 60) for _ in range(2)]
    assert told == [
        "process 1 of the data plane: It ended with exit code -9. Next try in 0.2 s.",
        "process 1 of the data plane: serving again",
    ]
    assert (process.serving, process.pid == first, owner.dead) == (True, False, 1)
    await process.stop()
    owner.close()


async def test_one_that_is_asked_asks_itself_and_says_so_when_it_ends_instead() -> None:
    owner = ChildOwner()
    process = ChildHandle(0, owner)
    with pytest.raises(ConnectionError):
        await process.ask("/classify", b"{}")
    assert await process.start() == ""
    status, body = await process.ask("/classify", b'{"model": "nothing", "input": "a"}')
    assert (status, b"The model 'nothing' does not exist here" in body) == (404, True)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    asking = asyncio.create_task(process.ask("/classify", b"{}"))
    await asyncio.sleep(0)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ConnectionError, match="It ended with exit code -9"):
        await asking
    await process.stop()
    owner.close()


async def test_who_asks_what_it_counted_while_another_does_hears_what_it_has_counted_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_handle, "_COUNT_SECONDS", 60.0)
    owner = ChildOwner()
    process = ChildHandle(0, owner)
    await process.start()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    asking = [asyncio.create_task(process.count()) for _ in range(3)]
    await asyncio.sleep(0)
    os.kill(process.pid, signal.SIGCONT)
    await asyncio.wait(asking)
    # The first by itself, and the other two together.
    assert len(owner.counts) == 2
    await process.stop()
    owner.close()


async def test_one_that_does_not_answer_delays_its_owner_only_a_little_and_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = ChildOwner()
    process = ChildHandle(0, owner)
    await process.start()
    monkeypatch.setattr(child_handle, "_COUNT_SECONDS", 60.0)
    await process.count()
    assert len(owner.counts) == 1
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(child_handle, "_COUNT_SECONDS", 0.1)
    await process.count()
    assert len(owner.counts) == 1
    stopping = asyncio.create_task(process.stop())
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    await stopping
    assert repr(process) == "<ChildHandle 0 pid None [not serving]>"
    owner.close()


async def test_one_that_dies_during_a_drain_is_idle_and_not_started_again() -> None:
    owner = ChildOwner()
    process = ChildHandle(0, owner)
    await process.start()
    process.order(StopAccepting())
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(process.idle(), 60)
    process.order(CancelAll())
    await process.stop()
    assert (owner.dead, owner.said.empty()) == (1, True)
    owner.close()


async def test_one_that_cannot_start_says_why() -> None:
    owner = ChildOwner(access_log="/dev/null/log")
    process = ChildHandle(0, owner)
    assert "(gateway.access_log): Not a directory" in await process.start()
    await process.stop()
    owner.close()
