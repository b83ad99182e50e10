"""The listening sockets of one process among several, and which of them a new connection goes to.

The kernel spreads connections over the sockets of one port (``SO_REUSEPORT``) by a hash, which is even for thousands of
connections and not for tens: of four sockets the worst is 31 % off with 64 connections and 6 % with 1,024. So a process
that is given a connection while it holds more than another hands it over to the one with the fewest, before a byte is
read from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from time import monotonic_ns

from gateway.processes.datagrams import Datagrams
from gateway.processes.shared_cells import Row

_BACKLOG = 4096
_ACCEPTS = 64
"""So many connections are accepted at a time, so that those that are open get their turn."""

_SILENCE = 1_000_000_000
"""A process that has not ticked for so many nanoseconds is given no connection."""

_TOLERANCE = 16
"""Holding a sixteenth more than another is even enough; a hand-over costs more than it would mend."""


async def bound(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """Make a socket for each address of ``host``, all on one port, which others may share. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            each = socket.socket(family, kind, protocol)
            made.append(each)
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind((address[0], port, *address[2:]))
            port = each.getsockname()[1]
    except OSError:
        for each in made:
            each.close()
        raise
    return made


class ConnectionShare:
    """How many connections each process holds, those included that are on their way to it."""

    def __init__(self, ticks: Row, held: Row, received: Row, handed: Sequence[Row], own: int) -> None:
        self._ticks = ticks
        self._held = held
        self._received = received
        self._handed = handed
        self.own = own

    def choose(self) -> int:
        """Return the process that a new connection belongs to: this one, unless it holds clearly more than another."""
        here = self._count(self.own)
        alive = monotonic_ns() - _SILENCE
        others = [(self._count(each), each) for each, tick in enumerate(self._ticks) if tick > alive]
        least, process = min(others, default=(here, self.own))
        return process if here - least > here // _TOLERANCE else self.own

    def entered(self) -> None:
        """Count a connection that this process keeps."""
        self._held[self.own] += 1

    def handed(self, process: int) -> None:
        """Count a connection that was given to another."""
        self._handed[process][self.own] += 1

    def received(self) -> None:
        """Count a connection that another has given to this process."""
        self._received[self.own] += 1

    def set_held(self, count: int) -> None:
        """Set how many connections this process holds."""
        self._held[self.own] = count

    def _count(self, process: int) -> int:
        return self._held[process] + sum(self._handed[process]) - self._received[process]


class Acceptor:
    """Accepts connections, keeps them or hands them over, and takes those that others hand over."""

    def __init__(
        self,
        sockets: list[socket.socket],
        factory: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        share: ConnectionShare,
        datagrams: Datagrams,
    ) -> None:
        self.sockets = sockets
        self._factory = factory
        self._tls = tls
        self._share = share
        self._datagrams = datagrams
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._paused: list[socket.socket] = []

    def __repr__(self) -> str:
        return f"<Acceptor {[each.getsockname() for each in self.sockets]}>"

    def open(self) -> None:
        """Listen. Raises ``OSError``."""
        for each in self.sockets:
            each.listen(_BACKLOG)
            self._loop.add_reader(each, self._accept, each)

    def close(self) -> None:
        """Listen no more; accepted connections stay."""
        for each in self.sockets:
            self._loop.remove_reader(each)
            each.close()
        self.sockets = []
        self._paused = []

    def tick(self, count: int) -> None:
        """Publish how many connections there are, and accept again if descriptors had run out."""
        self._share.set_held(count + len(self._starting))
        paused, self._paused = self._paused, []
        for each in paused:
            self._loop.add_reader(each, self._accept, each)

    def handed_over(self, connection: socket.socket) -> None:
        """Take a connection that another process has handed over; its own limits apply to it."""
        self._share.received()
        self._keep(connection)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptors are left. To be called again and again until there are would cost the whole core.
                self._loop.remove_reader(listening)
                self._paused.append(listening)
                return
            chosen = self._share.choose()
            if chosen != self._share.own and self._datagrams.hand_over(chosen, connection):
                self._share.handed(chosen)
                connection.close()
            else:
                self._keep(connection)

    def _keep(self, connection: socket.socket) -> None:
        self._share.entered()
        connection.setblocking(False)
        task = self._loop.create_task(self._start(connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, connection: socket.socket) -> None:
        """Serve a connection. A client that left meanwhile, or that does not speak TLS, is no error of ours."""
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(self._factory, connection, ssl=self._tls)
