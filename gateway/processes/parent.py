"""The data plane as several processes: what the parent knows of them, sends them, and takes back from the dead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from gateway.api.keyring import keyring_of
from gateway.config.schema import Config
from gateway.core.start_error import StartError
from gateway.core.ticker import Ticker
from gateway.data_plane import joined, split, tls_of, url_of
from gateway.observe.counters import Snapshot
from gateway.observe.exposition import Exposition
from gateway.pools.build import RegistryBuilder
from gateway.pools.ejection import Finding
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.processes.acceptor import bound
from gateway.processes.broadcast import Broadcast
from gateway.processes.cell_layout import (
    HELD,
    TICKED_AT,
    AnswerTotals,
    ParentCounting,
    connection_rows,
    forget,
    slot_rows,
)
from gateway.processes.child_handle import ChildHandle, Update
from gateway.processes.datagrams import Datagrams, discard_pending, socket_pairs
from gateway.processes.lock_watch import LockWatch
from gateway.processes.messages import (
    AnnounceEnd,
    CancelAll,
    RowsMade,
    Setup,
    StopAccepting,
)
from gateway.processes.node_counters import NodeCounters
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_usage import SharedUsage, make_usage_rows

_NANOSECONDS = 1e9

_COUNT_SECONDS = 3.0
"""Longest wait for the main thread, which asks the processes what they counted."""


class Parent:
    """All data-plane processes of the node, to be used where one process uses its ``DataPlane``."""

    def __init__(self, config: Config, version: str, commit: str, say: Callable[[str], None]) -> None:
        number = config.gateway.processes
        self.say = say
        self._config = config
        self._version = version
        self._listen = config.gateway.listen
        self._loop = asyncio.get_running_loop()
        self._processes: list[ChildHandle] = []
        self._cells = Cells.create(connection_rows(number), number)
        self._ticks = self._cells.row(TICKED_AT)
        self._receivers, self._senders = socket_pairs(number)
        # The parent sends and never receives.
        self._datagrams = Datagrams(self._receivers[0], self._senders)
        self._addresses: list[socket.socket] = []
        self._answers = AnswerTotals(self._cells)
        make_usage_rows(self._cells, config.gateway)
        self.usage = SharedUsage(self._cells, own=0)
        self.keyring = keyring_of(config.gateway, self.usage)
        self.builder = RegistryBuilder(ParentCounting(self._cells, self._send_rows))
        self.registry = self.builder.build(config)
        self._broadcast = Broadcast(self.builder, config, self.registry, self._send, self._answers.set_replicas)
        self.counters = NodeCounters()
        self.exposition = Exposition(self.counters.total, lambda: self.registry, version, commit)
        self._ticker = Ticker(self._tick, lambda _: None)
        self.draining = False
        """Whether the end was announced."""
        self._processes = [ChildHandle(own, self) for own in range(number)]
        self._locks = LockWatch(self._cells, self._processes)

    def __repr__(self) -> str:
        return f"<Parent {self._processes!r} {self.registry!r}>"

    # what the control plane and the start-up display see

    @property
    def address(self) -> str:
        """Where clients ask, once it has started; the real port, where 0 was asked for."""
        host, port = self._addresses[0].getsockname()[:2]
        return url_of(host, port, tls=self._config.gateway.tls_certificate is not None)

    @property
    def last_tick(self) -> float:
        """When the loop that is most behind ticked last, this one's or that of a process that serves."""
        serving = [self._ticks[own] / _NANOSECONDS for own, each in enumerate(self._processes) if each.serving]
        return min([self._ticker.last_tick, *serving])

    @property
    def troubles(self) -> Sequence[str]:
        """Why nothing can be asked at all."""
        return () if any(each.serving for each in self._processes) else ("no process takes requests",)

    @property
    def processes(self) -> Sequence[Mapping[str, object]]:
        """What there is to know of each process."""
        held = self._cells.row(HELD)
        return [
            {"pid": each.pid, "serving": each.serving, "connections": held[own]}
            for own, each in enumerate(self._processes)
        ]

    async def count(self) -> None:
        """Ask every process what it counted; called on the control plane's loop."""
        asking = asyncio.run_coroutine_threadsafe(self._count(), self._loop)
        with suppress(TimeoutError):
            async with asyncio.timeout(_COUNT_SECONDS):
                await asyncio.wrap_future(asking)

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Have a process ask itself for a path; give status and body. Raises ``ConnectionError`` if none can answer."""
        serving = next((each for each in self._processes if each.serving), None)
        if serving is None:
            raise ConnectionError("no process takes requests")
        return await serving.ask(path, body)

    # reload

    def renew_certificate(self, config: Config) -> None:
        """Check that the processes can use the certificate that its files hold now. Raises ``StartError``."""
        tls_of(config)

    def apply(self, config: Config, registry: Registry) -> None:
        """Let all processes go by another configuration from now on, but for what is read at the start only."""
        self._config = config
        self._send_rows(make_usage_rows(self._cells, config.gateway))
        self.keyring = keyring_of(config.gateway, self.usage)
        self.registry.succeeded_by(registry)
        self.registry = registry
        self._broadcast.apply(config, registry)

    def show_load(self, replica: Replica) -> None:
        """Tell all processes what the engine of a replica says of its load."""
        self._broadcast.show_load(replica)

    # start and stop

    async def start(self) -> None:
        """Let all processes listen. Raises ``StartError``."""
        host, port = split(self._config.gateway.listen)
        try:
            # Where a port can be shared, another gateway's would be shared too; so look first whether it is free.
            for each in await bound(host, port, shared=False):
                each.close()
            self._addresses = await bound(host, port, shared=True)
        except OSError as error:
            where = self._config.gateway.listen
            raise StartError(f"Cannot listen on {where} (gateway.listen): {error.strerror}.") from None
        self._listen = joined(host, self._addresses[0].getsockname()[1])
        self._ticker.start()
        reasons = await asyncio.gather(*(each.start() for each in self._processes))
        for reason in filter(None, reasons):
            raise StartError(reason)

    async def stop(self) -> None:
        """End all processes, and give back what they shared."""
        await asyncio.gather(*(each.stop() for each in self._processes))
        self._ticker.stop()
        for each in (*self._receivers, *self._senders, *self._addresses):
            each.close()
        self._cells.close()

    # the end, in the order of ``drain.drain``

    def announce_end(self) -> None:
        """Ask clients to close their connections."""
        self.draining = True
        self._order(AnnounceEnd())

    def stop_accepting(self) -> None:
        """Take nothing new, and refuse what waits."""
        for each in self._addresses:
            each.close()
        self._order(StopAccepting())

    async def idle(self) -> None:
        """Wait until no process has a request under way."""
        await asyncio.gather(*(each.idle() for each in self._processes))

    def cancel_all(self) -> None:
        """End all requests that are still under way."""
        self._order(CancelAll())

    # what the processes need and report

    @property
    def inherited(self) -> Sequence[int]:
        """The descriptors that every process inherits."""
        return [self._cells.fd, *(each.fileno() for each in (*self._receivers, *self._senders))]

    def setup(self, process: int) -> Setup:
        """Give the first message to a process: which it is, and what it serves."""
        return Setup(
            own=process,
            serves=self._broadcast.served,
            listen=self._listen,
            version=self._version,
            cells=self._cells.fd,
            rows=self._cells.names,
            receiver=self._receivers[process].fileno(),
            senders=[each.fileno() for each in self._senders],
        )

    def suspect(self, replica: str, cause: Finding, reason: str) -> None:
        """Eject a replica that a process's requests have found failing, if its pool can spare it."""
        for pool in self.registry.pools:
            pool.ejections.suspect(replica, cause, reason)

    def readmit(self, replica: str) -> None:
        """Take a replica in again that has answered the request with which a process tried it."""
        for pool in self.registry.pools:
            pool.ejections.readmit(replica)

    def confirmed(self, process: int, number: int) -> None:
        """Note that everything holds in a process which it was told before it was asked to confirm this."""
        self._broadcast.confirmed(process, number)

    def counted(self, process: int, snapshot: Snapshot) -> None:
        """Take over what a process has counted so far."""
        self.counters.counted(process, snapshot)

    def ended(self, process: int) -> None:
        """Take back everything that a process held which is gone, and let those go on who waited for it."""
        self.counters.ended(process)
        self._broadcast.ended(process)
        discard_pending(self._receivers[process])
        forget(self._cells, process)
        for pool in self.registry.pools:
            next_process = slot_rows(self._cells, pool.name).next_process()
            if next_process is not None:
                self._datagrams.wake(next_process, pool.name)

    # inside

    def _tick(self, now: float) -> None:
        self._locks.tick(now)
        self._answers.read()
        self.registry.tick(now, self._broadcast.is_known)

    def _order(self, order: AnnounceEnd | StopAccepting | CancelAll) -> None:
        for each in self._processes:
            each.order(order)

    def _send(self, update: Update) -> list[int]:
        """Send all processes what has changed, and tell which of them are there."""
        return [own for own, each in enumerate(self._processes) if each.send(update)]

    def _send_rows(self, names: Sequence[str]) -> None:
        self._send(RowsMade(list(names)))

    async def _count(self) -> None:
        await asyncio.gather(*(each.count() for each in self._processes))
