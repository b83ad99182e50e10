"""One data plane among several, which follows its parent's messages and ends with it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from typing import Any

from gateway.config.schema import Config
from gateway.core.ticker import Ticker
from gateway.data_plane import DataPlane, Server, StartError
from gateway.pools.build import build_registry
from gateway.pools.replica import Replica
from gateway.process_tuning import freeze_gc
from gateway.processes.acceptor import Acceptor, bound
from gateway.processes.cell_layout import TICKED_AT, ChildCounting, Publisher, connection_share, rows
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
from gateway.processes.shared_cells import Cells, WholeLock

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that happens."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


async def run(descriptor: int) -> int:
    """Serve until the parent ends it; return the exit code."""
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
        """Handle a message of the parent."""
        if isinstance(message, Setup):
            self._set_up(message)
            return
        serving = self._data_plane
        if serving is None:
            # It could not be built, which the parent does not know yet.
            return
        match message:
            case ReplicaUpdate():
                serving.apply_replica(message)
            case LengthUpdate():
                serving.apply_length(message)
            case AnnounceEnd():
                serving.plane.announce_end()
            case StopAccepting():
                serving.plane.stop_accepting()
                self._spawn(self._report_idle(serving.plane))
            case CancelAll():
                serving.plane.cancel_all()
            case Count():
                self._spawn(self._count(serving.plane))
            case End():
                self._spawn(self._end(serving))
            case _:
                raise AssertionError(f"a parent does not send {message}")

    def orphaned(self) -> None:
        """End: the parent is gone, or this process has sent its last message."""
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
        """Become a data plane at once, because the next message may have come in the same read."""
        try:
            serving = self._data_plane = ChildPlane(setup, self._report_ejection)
        except StartError as error:
            self._give_up(error)
        else:
            self._spawn(self._begin(serving))

    def _report_ejection(self, replica: Replica) -> None:
        self.channel.send(ReplicaSuspected(replica.name, replica.reason))

    def _give_up(self, error: StartError) -> None:
        """Report why this process cannot serve, and end."""
        self.channel.send(NotStarted(str(error)))
        self._code = 1
        self.channel.close()

    async def _begin(self, serving: ChildPlane) -> None:
        """Serve, or report why not."""
        try:
            await serving.start()
        except StartError as error:
            self._give_up(error)
            return
        freeze_gc()
        self.channel.send(Serving())

    async def _report_idle(self, plane: DataPlane) -> None:
        await plane.idle()
        self.channel.send(Idle())

    async def _count(self, plane: DataPlane) -> None:
        """Write down what was counted on another thread, where it delays no token but for the interpreter's lock."""
        data = await asyncio.to_thread(lambda: encode(Counted(plane.counters.snapshot())))
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

    def __init__(self, setup: Setup, ejected: Callable[[Replica], None]) -> None:
        config = _share_of_limits(Config.model_validate_json(setup.config), setup.listen)
        self._own = setup.own
        self._cells = Cells(setup.cells, rows(config), config.gateway.processes)
        self._ticks = self._cells.row(TICKED_AT)
        self._datagrams = Datagrams(
            socket.socket(fileno=setup.receiver), [socket.socket(fileno=sender) for sender in setup.senders]
        )
        registry = build_registry(
            config, setup.started_here, ChildCounting(self._cells, self._own, self._datagrams.wake)
        )
        self._models = {model.name: model for model in registry.models}
        self._replicas = {replica.name: replica for replica in registry.replicas}
        for replica in self._replicas.values():
            replica.on_ejection = ejected
        self._admissions = {pool.name: pool.admission for pool in registry.pools}
        self._publisher = Publisher(self._cells, self._own, registry.pools)
        self._acceptor: Acceptor | None = None
        for replica_update in setup.replicas:
            self.apply_replica(replica_update)
        for length_update in setup.lengths:
            self.apply_length(length_update)
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
        self._datagrams.close()
        await self.plane.stop()

    def apply_replica(self, update: ReplicaUpdate) -> None:
        """Take over the state of a replica."""
        self._replicas[update.replica].set_state(update.state, update.reason)

    def apply_length(self, update: LengthUpdate) -> None:
        """Take over how many tokens a request for a model may have."""
        self._models[update.model].set_max_model_len(update.max_model_len)

    async def _listen(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int, tls: ssl.SSLContext | None
    ) -> Server:
        """Listen together with the others."""
        sockets = await bound(host, port, shared=True)
        share = connection_share(self._cells, self._own)
        acceptor = self._acceptor = Acceptor(sockets, factory, tls, share, self._datagrams)
        acceptor.open()
        self._datagrams.listen(self._woken, acceptor.handed_over)
        return acceptor

    def _woken(self, pool: str) -> None:
        """Take the slots that became free."""
        self._admissions[pool].serve()

    def _tick(self, _now: float) -> None:
        self._ticks[self._own] = monotonic_ns()
        self._publisher.publish()
        for admission in self._admissions.values():
            admission.tick()
        if self._acceptor is not None:
            self._acceptor.tick(self.plane.connections)


def _share_of_limits(config: Config, listen: str) -> Config:
    """Give a process its share of what cannot be counted for all at the price of a look at each connection."""
    gateway = config.gateway
    most = -(-gateway.limits.max_connections // gateway.processes)
    limits = gateway.limits.model_copy(update={"max_connections": most})
    return config.model_copy(update={"gateway": gateway.model_copy(update={"limits": limits, "listen": listen})})
