"""The data plane as several processes: what the parent knows of them, tells them, and takes back from the dead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from gateway.config.schema import Config
from gateway.core.ticker import Ticker
from gateway.data_plane import StartError, joined, split, url_of
from gateway.observe.counters import Snapshot
from gateway.pools.build import registry_of
from gateway.pools.replica import Replica
from gateway.processes.acceptor import bound
from gateway.processes.cell_layout import HELD, TICKED_AT, counts_of, forget, parent_parts, rows
from gateway.processes.child_handle import ChildHandle
from gateway.processes.datagrams import Datagrams, discard_pending, socket_pairs
from gateway.processes.messages import AnnounceEnd, CancelAll, LengthUpdate, ReplicaUpdate, Setup, StopAccepting
from gateway.processes.node_metrics import NodeMetrics
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_replica import ParentPool, ParentReplica

_NANOSECONDS = 1e9

_COUNT_SECONDS = 3.0
"""Longest wait for the main thread, which asks the processes what they counted."""


class Parent:
    """All data-plane processes of the node, to be used where one process uses its ``DataPlane``."""

    def __init__(
        self, config: Config, started_here: Mapping[str, str], version: str, commit: str, say: Callable[[str], None]
    ) -> None:
        number = config.gateway.processes
        self.say = say
        self._config = config
        self._started_here = dict(started_here)
        self._version = version
        self._listen = config.gateway.listen
        self._loop = asyncio.get_running_loop()
        self._processes: list[ChildHandle] = []
        self._cells = Cells.create(rows(config), number)
        self._ticks = self._cells.row(TICKED_AT)
        self._ears, self._mouths = socket_pairs(number)
        # The parent speaks and never listens.
        self._neighbours = Datagrams(self._ears[0], self._mouths)
        self._addresses: list[socket.socket] = []
        self.registry = registry_of(
            config, started_here, parent_parts(self._cells, self._tell_replica, self._tell_pool)
        )
        self.metrics = NodeMetrics(lambda: self.registry, version, commit)
        self._ticker = Ticker(lambda _: None, lambda _: None)
        self._processes = [ChildHandle(own, self) for own in range(number)]

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
        """When the loop that ticks least tick last, this one's or that of a process that serves."""
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
        for each in (*self._ears, *self._mouths, *self._addresses):
            each.close()
        self._cells.close()

    # the end, in the order of ``lifecycle.drain``

    def announce_end(self) -> None:
        """Ask clients to close their connections."""
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
        """End whatever is still under way."""
        self._order(CancelAll())

    # what the processes need and say

    @property
    def inherited(self) -> Sequence[int]:
        """The descriptors that every process inherits."""
        return [self._cells.fd, *(each.fileno() for each in (*self._ears, *self._mouths))]

    def setup(self, process: int) -> Setup:
        """Say who a process is, and what it serves."""
        return Setup(
            own=process,
            config=self._config.model_dump_json(exclude_unset=True).encode(),
            listen=self._listen,
            version=self._version,
            started_here=self._started_here,
            cells=self._cells.fd,
            ear=self._ears[process].fileno(),
            mouths=[each.fileno() for each in self._mouths],
            replicas=[_word(replica) for pool in self.registry for replica in pool.replicas],
            lengths=[LengthUpdate(pool.model, pool.max_model_len) for pool in self.registry],
        )

    def doubted(self, replica: str, reason: str) -> None:
        """Take a replica out that gave a process no responses, until a probe succeeds."""
        for pool in self.registry:
            for each in pool.replicas:
                if each.name == replica and each.ready:
                    each.set_ready(ready=False, state="failing", reason=reason)

    def counted(self, process: int, snapshot: Snapshot) -> None:
        """Take note of what a process has counted so far."""
        self.metrics.counted(process, snapshot)

    def ended(self, process: int) -> None:
        """Take back everything that a process held which is gone, and let those go on who waited for it."""
        self.metrics.ended(process)
        discard_pending(self._ears[process])
        forget(self._cells, process)
        for pool in self.registry:
            first = counts_of(self._cells, pool.model).longest_waiting()
            if first is not None:
                self._neighbours.wake(first, pool.model)

    # inside

    def _order(self, order: AnnounceEnd | StopAccepting | CancelAll) -> None:
        for each in self._processes:
            each.order(order)

    def _tell_replica(self, replica: ParentReplica) -> None:
        for each in self._processes:
            each.tell(_word(replica))

    def _tell_pool(self, pool: ParentPool) -> None:
        for each in self._processes:
            each.tell(LengthUpdate(pool.model, pool.max_model_len))

    async def _count(self) -> None:
        await asyncio.gather(*(each.count() for each in self._processes))


def _word(replica: Replica) -> ReplicaUpdate:
    return ReplicaUpdate(replica.name, replica.ready, replica.state, replica.reason)
