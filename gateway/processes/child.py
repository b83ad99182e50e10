"""One data plane among several, which does what its parent says and ends with it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from typing import Any, cast

from gateway.config.schema import Config
from gateway.core.ticker import Ticker
from gateway.data_plane import DataPlane, Server, StartError
from gateway.pools.build import registry_of
from gateway.process_tuning import freeze_gc
from gateway.processes.acceptor import Acceptor, bound
from gateway.processes.cell_layout import TICKED_AT, Publisher, child_parts, rows, share_of
from gateway.processes.datagrams import Datagrams
from gateway.processes.messages import (
    AnnounceEnd,
    CancelAll,
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
    Serving,
    Setup,
    StopAccepting,
    encode,
)
from gateway.processes.shared_admission import SharedAdmission
from gateway.processes.shared_cells import Cells, WholeLock
from gateway.processes.shared_replica import ChildReplica

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that happens, and whatever this one is doing."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


async def run(descriptor: int) -> int:
    """Serve until the parent says that it is enough; return the exit code."""
    ended = asyncio.get_running_loop().create_future()
    child = Child(ended)
    own_end = socket.socket(fileno=descriptor)
    await asyncio.get_running_loop().create_connection(lambda: child.channel, sock=own_end)
    code: int = await ended
    return code


class Child:
    """A process that becomes a data plane with the first message it gets."""

    def __init__(self, ended: asyncio.Future[int]) -> None:
        self.channel = Channel(self.received, self.orphaned)
        self._ended = ended
        self._data_plane: ChildPlane | None = None
        self._code: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Child {self._data_plane!r}>"

    def received(self, message: Message) -> None:
        """Do what the parent says."""
        if isinstance(message, Setup):
            self._set_up(message)
            return
        serving = self._data_plane
        if serving is None:
            # It could not be built, which the parent does not know yet.
            return
        match message:
            case ReplicaUpdate():
                serving.told(message)
            case LengthUpdate():
                serving.told_length(message)
            case AnnounceEnd():
                serving.plane.announce_end()
            case StopAccepting():
                serving.plane.stop_accepting()
                self._spawn(self._say_when_idle(serving.plane))
            case CancelAll():
                serving.plane.cancel_all()
            case Count():
                self._spawn(self._count(serving.plane))
            case End():
                self._spawn(self._end(serving))
            case _:
                raise AssertionError(f"a parent does not say {message}")

    def orphaned(self) -> None:
        """End: the parent is gone, or this process has said all that it had to say."""
        if self._code is None:
            os._exit(1)
        self._ended.set_result(self._code)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """Let a mistake end the process, with its traceback, instead of leaving it half alive."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _set_up(self, setup: Setup) -> None:
        """Become a data plane at once, because what is said next may have come in the same read."""
        try:
            serving = self._data_plane = ChildPlane(setup, lambda *doubt: self.channel.send(ReplicaSuspected(*doubt)))
        except StartError as error:
            self._give_up(error)
        else:
            self._spawn(self._begin(serving))

    def _give_up(self, error: StartError) -> None:
        """Say why this process cannot serve, and end."""
        self.channel.send(NotStarted(str(error)))
        self._code = 1
        self.channel.close()

    async def _begin(self, serving: ChildPlane) -> None:
        """Serve, or say why not."""
        try:
            await serving.start()
        except StartError as error:
            self._give_up(error)
            return
        freeze_gc()
        self.channel.send(Serving())

    async def _say_when_idle(self, plane: DataPlane) -> None:
        await plane.idle()
        self.channel.send(Idle())

    async def _count(self, plane: DataPlane) -> None:
        """Write down what was counted on another thread, where it delays no token but for the interpreter's lock."""
        data = await asyncio.to_thread(lambda: encode(Counted(plane.metrics.snapshot())))
        self.channel.send_encoded(data)

    async def _end(self, serving: ChildPlane) -> None:
        await serving.stop()
        await self._count(serving.plane)
        self._code = 0
        self.channel.close()


class ChildPlane:
    """The data plane of a child, its part in what the processes share, and the tick that shows it to the others.

    Raises ``StartError`` when it cannot be built.
    """

    def __init__(self, setup: Setup, doubt: Callable[[str, str], None]) -> None:
        config = _share_of_limits(Config.model_validate_json(setup.config), setup.listen)
        self._own = setup.own
        self._cells = Cells(setup.cells, rows(config), config.gateway.processes)
        self._ticks = self._cells.row(TICKED_AT)
        self._neighbours = Datagrams(
            socket.socket(fileno=setup.ear), [socket.socket(fileno=mouth) for mouth in setup.mouths]
        )
        parts = child_parts(self._cells, self._own, doubt, self._neighbours.wake)
        registry = registry_of(config, setup.started_here, parts)
        self._pools = {pool.model: pool for pool in registry}
        # The registry was built of such replicas just now.
        self._replicas = {each.name: cast(ChildReplica, each) for pool in registry for each in pool.replicas}
        self._admissions = {
            pool.model: pool.admission for pool in registry if isinstance(pool.admission, SharedAdmission)
        }
        self._publisher = Publisher(self._cells, self._own, list(registry))
        self._entrance: Acceptor | None = None
        for word in setup.replicas:
            self.told(word)
        for length in setup.lengths:
            self.told_length(length)
        self.plane = DataPlane(
            config, registry, setup.version, "", listen=self._listen, log_lock=WholeLock(setup.cells)
        )
        self._ticker = Ticker(self._tick, lambda _: None)

    def __repr__(self) -> str:
        return f"<ChildPlane {self._own} {self.plane!r}>"

    async def start(self) -> None:
        """Serve. Raises ``StartError``."""
        self._ticks[self._own] = monotonic_ns()
        await self.plane.start()
        self._ticker.start()

    async def stop(self) -> None:
        """Close everything."""
        self._ticker.stop()
        self._neighbours.close()
        await self.plane.stop()

    def told(self, word: ReplicaUpdate) -> None:
        """Take over what the parent says of a replica."""
        self._replicas[word.replica].told(ready=word.ready, state=word.state, reason=word.reason)

    def told_length(self, word: LengthUpdate) -> None:
        """Take over what the parent says of a model."""
        self._pools[word.model].learned_length(word.max_model_len)

    async def _listen(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int, tls: ssl.SSLContext | None
    ) -> Server:
        """Listen together with the others."""
        sockets = await bound(host, port, shared=True)
        entrance = self._entrance = Acceptor(sockets, factory, tls, share_of(self._cells, self._own), self._neighbours)
        entrance.open()
        self._neighbours.listen(self._woken, entrance.given)
        return entrance

    def _woken(self, model: str) -> None:
        """Take the slots that became free."""
        self._admissions[model].serve()

    def _tick(self, _now: float) -> None:
        self._ticks[self._own] = monotonic_ns()
        self._publisher.publish()
        for admission in self._admissions.values():
            admission.tick()
        if self._entrance is not None:
            self._entrance.tick(self.plane.connections)


def _share_of_limits(config: Config, listen: str) -> Config:
    """Give a process its share of what cannot be counted for all at the price of a look at each connection."""
    gateway = config.gateway
    most = -(-gateway.limits.max_connections // gateway.processes)
    limits = gateway.limits.model_copy(update={"max_connections": most})
    return config.model_copy(update={"gateway": gateway.model_copy(update={"limits": limits, "listen": listen})})
