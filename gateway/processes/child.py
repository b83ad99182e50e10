"""One data plane among several, which follows its parent's messages and ends with it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from typing import Any

from gateway.config.schema import Config
from gateway.core.process_tuning import freeze_gc
from gateway.core.start_error import StartError
from gateway.core.ticker import Ticker
from gateway.data_plane import DataPlane, Server
from gateway.pools.build import RegistryBuilder
from gateway.pools.ejection import Finding, Overseer
from gateway.pools.model import Model
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.processes.acceptor import Acceptor, bound
from gateway.processes.cell_layout import TICKED_AT, ChildCounting, Publisher, connection_share
from gateway.processes.datagrams import Datagrams
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
    encode,
)
from gateway.processes.shared_cells import Cells, WholeLock
from gateway.processes.shared_usage import SharedUsage

_LOG = logging.getLogger(__name__)

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
            case RowsMade() | Served() | PoolUpdate() | ReplicaUpdate() | LengthUpdate():
                serving.update(message)
            case Confirm(number):
                serving.publish()
                self.channel.send(Confirmed(number))
            case AnnounceEnd():
                serving.plane.announce_end()
            case StopAccepting():
                serving.plane.stop_accepting()
                self._spawn(self._report_idle(serving.plane))
            case CancelAll():
                serving.plane.cancel_all()
            case Count():
                self._spawn(self._count(serving.plane))
            case Ask():
                self._spawn(self._ask(serving.plane, message))
            case End():
                self._spawn(self._end(serving))
            case _:
                raise AssertionError(f"a parent does not send {message}")

    def suspect(self, replica: str, cause: Finding, reason: str) -> None:
        """Let the parent decide whether a replica is ejected, because it decides for all processes."""
        self.channel.send(ReplicaSuspected(replica, cause, reason))

    def readmit(self, replica: str) -> None:
        """Tell the parent that the request has succeeded with which a replica was tried here."""
        self.channel.send(ReplicaRecovered(replica))

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
            serving = self._data_plane = ChildPlane(setup, self)
        except StartError as error:
            self._give_up(error)
        else:
            self._spawn(self._begin(serving))

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

    async def _ask(self, plane: DataPlane, question: Ask) -> None:
        status, body = await plane.ask(question.path, question.body)
        self.channel.send(Answered(question.number, status, body))

    async def _end(self, serving: ChildPlane) -> None:
        await serving.stop()
        await self._count(serving.plane)
        self._code = 0
        self.channel.close()


def _take_over(replica: Replica, update: ReplicaUpdate) -> None:
    replica.foreign, replica.cache_tokens = update.foreign, update.cache_tokens
    replica.set_adapters(frozenset(update.adapters))
    replica.set_state(update.state, update.reason)


Update = RowsMade | Served | PoolUpdate | ReplicaUpdate | LengthUpdate
"""What the parent says of what is served."""


class ChildPlane:
    """The data plane of a child, its part in what the processes share, and the tick that shows it to the others.

    ``overseer`` hears what requests find of a replica. Raises ``StartError`` when it cannot be built.
    """

    def __init__(self, setup: Setup, overseer: Overseer) -> None:
        self._own = setup.own
        self._address = setup.listen
        self._overseer = overseer
        self._cells = Cells(setup.cells, setup.rows, len(setup.senders))
        self._ticks = self._cells.row(TICKED_AT)
        self._datagrams = Datagrams(
            socket.socket(fileno=setup.receiver), [socket.socket(fileno=sender) for sender in setup.senders]
        )
        self._builder = RegistryBuilder(ChildCounting(self._cells, self._own, self._datagrams.wake))
        self._models: dict[str, Model] = {}
        self._pools: dict[str, Pool] = {}
        self._replicas: dict[str, Replica] = {}
        self._publisher = Publisher(self._cells, self._own)
        self._acceptor: Acceptor | None = None
        config, registry = self._read(setup.serves)
        self.plane = DataPlane(
            config,
            registry,
            setup.version,
            "",
            listen=self._listen,
            log_lock=WholeLock(setup.cells),
            usage=SharedUsage(self._cells, self._own),
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

    def update(self, update: Update) -> None:
        """Take over what the parent says."""
        match update:
            case RowsMade(names):
                self._cells.know(names)
            case Served():
                self._apply(update)
            case PoolUpdate(layout):
                if layout.name in self._pools:
                    self._builder.set_replicas(self._pools[layout.name], layout)
                    self._list_replicas()
            case ReplicaUpdate(name):
                # One that is here no longer has drained.
                if name in self._replicas:
                    _take_over(self._replicas[name], update)
            case LengthUpdate(name, max_model_len):
                if name in self._models:
                    self._models[name].set_max_model_len(max_model_len)

    def publish(self) -> None:
        """Show the parent what it counts."""
        self._publisher.publish()

    # inside

    def _apply(self, serves: Served) -> None:
        """Go by another configuration from now on."""
        config, registry = self._read(serves)
        try:
            self.plane.renew_certificate(config)
        except StartError as error:
            # The parent has read these files a moment ago; the next change of theirs is another reload.
            _LOG.error("%s The certificate from before stays in use.", error)
        self.plane.apply(config, registry)

    def _read(self, serves: Served) -> tuple[Config, Registry]:
        """Build what is to be served."""
        config = _share_of_limits(Config.model_validate_json(serves.config), self._address)
        registry = self._builder.follow(config, serves.pools)
        self._models = {model.name: model for model in registry.models}
        self._pools = {pool.name: pool for pool in self._builder.pools}
        self._list_replicas()
        for replica_update in serves.replicas:
            self.update(replica_update)
        for length_update in serves.lengths:
            self.update(length_update)
        return config, registry

    def _list_replicas(self) -> None:
        """Know the replicas that there are now."""
        self._replicas = {replica.name: replica for pool in self._pools.values() for replica in pool.replicas}
        for pool in self._pools.values():
            pool.set_overseer(self._overseer)
        self._publisher.set_pools(tuple(self._pools.values()))

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
        if pool in self._pools:
            self._pools[pool].admission.serve()

    def _tick(self, _now: float) -> None:
        self._ticks[self._own] = monotonic_ns()
        self._publisher.publish()
        for pool in self._pools.values():
            pool.admission.tick()
        if self._acceptor is not None:
            self._acceptor.tick(self.plane.connections)


def _share_of_limits(config: Config, listen: str) -> Config:
    """Give a process its share of what cannot be counted for all at the price of a look at each connection."""
    gateway = config.gateway
    most = -(-gateway.limits.max_connections // gateway.processes)
    limits = gateway.limits.model_copy(update={"max_connections": most})
    return config.model_copy(update={"gateway": gateway.model_copy(update={"limits": limits, "listen": listen})})
