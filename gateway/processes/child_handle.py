"""One child as its parent sees it: started, sent messages, and started again when it dies."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any, Protocol

from engines.processes.restart import RestartPolicy
from engines.processes.start import start_process
from gateway.core.tasks import cancelled
from gateway.observe.counters import Snapshot
from gateway.pools.ejection import Overseer
from gateway.processes.messages import (
    AnnounceEnd,
    Answered,
    Ask,
    CancelAll,
    Channel,
    Confirm,
    Confirmed,
    Count,
    Counted,
    End,
    Idle,
    LengthUpdate,
    Message,
    NotStarted,
    PoolUpdate,
    ReplicaRecovered,
    ReplicaSuspected,
    ReplicaUpdate,
    RowsMade,
    Served,
    Serving,
    Setup,
    StopAccepting,
)

_RESTARTS = RestartPolicy(first=0.2)

_COUNT_SECONDS = 1.0
"""Longest wait for what a process counted; beyond that, its last message has to do."""

_END_SECONDS = 10.0
"""Longest wait for a process that was told to end."""


Update = RowsMade | PoolUpdate | ReplicaUpdate | LengthUpdate | Served | Confirm
"""What a parent sends while all is well."""


class ChildOwner(Overseer, Protocol):
    """What the handle of a child needs of the parent."""

    @property
    def inherited(self) -> Sequence[int]:
        """The descriptors that every process inherits."""

    def setup(self, process: int) -> Setup:
        """Give the first message to a process: which it is, and what it serves."""

    def confirmed(self, process: int, number: int) -> None:
        """Note that everything holds in a process which it was told before it was asked to confirm this."""

    def counted(self, process: int, snapshot: Snapshot) -> None:
        """Take over what a process has counted so far."""

    def ended(self, process: int) -> None:
        """Take back everything that a process held which is gone."""

    def say(self, text: str) -> None:
        """Tell people what happens."""


class ChildHandle:
    """A data plane in a process of its own. Where it ends unasked, another takes its place."""

    def __init__(self, own: int, owner: ChildOwner) -> None:
        self._own = own
        self._owner = owner
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._orders: list[AnnounceEnd | StopAccepting | CancelAll] = []
        self._idle = asyncio.Event()
        self._ended = asyncio.Event()
        self._counting: asyncio.Future[None] | None = None
        """Done when it says what it had counted when it was asked last."""
        self._counting_next: asyncio.Future[None] | None = None
        """The same for when it will be asked next, by those who came since then."""
        self._asked: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        """What it has been asked, by number, and has not answered yet."""
        self._numbers = count(1)
        self._reason = ""
        self._serving_since: float | None = None
        self._first: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        pid = self._process.pid if self._process is not None else None
        return f"<ChildHandle {self._own} pid {pid} [{'serving' if self.serving else 'not serving'}]>"

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return self._serving_since is not None

    @property
    def pid(self) -> int | None:
        """Its process id, while it lives."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> str:
        """Start it, and wait until it serves; return why it does not, or nothing."""
        self._task = asyncio.get_running_loop().create_task(self._live())
        either: list[asyncio.Future[Any]] = [self._task, self._first]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._first.done():
            self._task.result()
        return self._first.result()

    def send(self, update: Update) -> bool:
        """Send it what changed; ``False`` for one that is not there: it gets everything when it starts."""
        if self._channel is None:
            return False
        self._channel.send(update)
        return True

    def order(self, order: AnnounceEnd | StopAccepting | CancelAll) -> None:
        """Let it take the next step towards its end; one that begins to serve too late takes all of them."""
        self._orders.append(order)
        if self.serving:
            self._obey(order)
        else:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until it has no request under way, or is gone."""
        await self._idle.wait()

    async def count(self) -> None:
        """Ask it what it counted up to now, and wait a little for the response."""
        if not self.serving or self._channel is None:
            return
        if self._counting is None:
            waited_for = self._counting = asyncio.get_running_loop().create_future()
            self._channel.send(Count())
        else:
            # What it has been asked already it may have counted before the last response that the caller has seen.
            self._counting_next = self._counting_next or asyncio.get_running_loop().create_future()
            waited_for = self._counting_next
        await asyncio.wait({waited_for}, timeout=_COUNT_SECONDS)

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Have it ask itself; give status and body of the response. Raises ``ConnectionError`` where it ends before."""
        if self._channel is None:
            raise ConnectionError(self._reason)
        number = next(self._numbers)
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._channel.send(Ask(number, path, body))
        try:
            return await answer
        finally:
            del self._asked[number]

    def kill(self, reason: str) -> None:
        """End it at once, so that another takes its place; ``reason`` is for people."""
        if self._process is not None:
            self._reason = reason
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """Let it end, or end it if it does not."""
        if self._process is not None and self._channel is not None and self.serving:
            self._channel.send(End())
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._ended.wait()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._ended.wait()
        if self._task is not None:
            await cancelled([self._task])

    async def _live(self) -> None:
        """Run it again and again, waiting longer each time it fails soon, until it is to end."""
        failures = 0
        while True:
            served = await self._run()
            if not self._first.done():
                self._first.set_result(self._reason)
                return
            if StopAccepting() in self._orders:
                return
            failures = _RESTARTS.failures(failures, served)
            pause = _RESTARTS.pause(failures)
            self._owner.say(f"process {self._own + 1} of the data plane: {self._reason} Next try in {pause:g} s.")
            await asyncio.sleep(pause)

    async def _run(self) -> float:
        """Run it once, until it has ended; return for how many seconds it served."""
        self._reason = ""
        self._ended.clear()
        ours, theirs = socket.socketpair()
        inherited = (theirs.fileno(), *self._owner.inherited)
        with theirs:
            try:
                process = self._process = await start_process(
                    *(sys.executable, "-P", "-m", "gateway.processes", str(theirs.fileno()), str(os.getpid())),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=inherited,
                )
            except OSError as error:
                ours.close()
                self._reason = f"It cannot be started: {error.strerror}."
                return 0.0
        silent = asyncio.Event()
        _, self._channel = await asyncio.get_running_loop().create_connection(
            lambda: Channel(self._received, silent.set), sock=ours
        )
        self._channel.send(self._owner.setup(self._own))
        code = await process.wait()
        # Its last messages are still to be read.
        await silent.wait()
        served = 0.0 if self._serving_since is None else monotonic() - self._serving_since
        self._gone(code)
        return served

    def _gone(self, code: int) -> None:
        """Note that the process has ended."""
        self._reason = self._reason or f"It ended with exit code {code}."
        self._process = self._channel = self._serving_since = None
        for _ in (self._counting, self._counting_next):
            self._counted()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ConnectionError(self._reason))
        self._idle.set()
        self._ended.set()
        self._owner.ended(self._own)

    def _received(self, message: Message) -> None:
        match message:
            case Serving():
                self._serving_since = monotonic()
                for order in self._orders:
                    self._obey(order)
                if self._first.done():
                    self._owner.say(f"process {self._own + 1} of the data plane: serving again")
                else:
                    self._first.set_result("")
            case NotStarted(reason):
                self._reason = reason
            case ReplicaSuspected(replica, cause, reason):
                self._owner.suspect(replica, cause, reason)
            case ReplicaRecovered(replica):
                self._owner.readmit(replica)
            case Confirmed(number):
                self._owner.confirmed(self._own, number)
            case Counted(snapshot):
                self._owner.counted(self._own, snapshot)
                self._counted()
            case Answered(number, status, body):
                if number in self._asked and not self._asked[number].done():
                    self._asked[number].set_result((status, body))
            case Idle():
                self._idle.set()
            case _:
                raise AssertionError(f"a child does not send {message}")

    def _obey(self, order: AnnounceEnd | StopAccepting | CancelAll) -> None:
        if isinstance(order, StopAccepting):
            self._idle.clear()
        assert self._channel is not None
        self._channel.send(order)

    def _counted(self) -> None:
        if self._counting is not None:
            self._counting.set_result(None)
        self._counting, self._counting_next = self._counting_next, None
        if self._counting is not None and self._channel is not None:
            self._channel.send(Count())
