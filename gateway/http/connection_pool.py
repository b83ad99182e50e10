"""Idle connections to each upstream address, kept open and used again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from weakref import WeakValueDictionary

from gateway.http.address import Address, is_ip
from gateway.http.head_cache import SharedHead
from gateway.http.host_lookup import HostLookup
from gateway.http.response_head import ResponseHead, ResponseHeads
from gateway.http.upstream import UpstreamConnection, UpstreamError

_MAX_IDLE = 1024
"""Idle connections kept per address; more than this were a burst, and are closed as they become idle."""


class ConnectionPool:
    """The connections to one address: last used, first reused, so that what a burst opened can grow old and close.

    ``heads`` recognises the heads of their responses; it may share what it has learned with other addresses.
    """

    __slots__ = (
        "__weakref__",
        "_connecting",
        "_idle",
        "_idle_timeout",
        "_lookup",
        "_max_idle",
        "_now",
        "_open",
        "_tls",
        "address",
        "connect_timeout",
        "heads",
    )

    def __init__(
        self,
        address: Address,
        *,
        connect_timeout: float,
        idle_timeout: float = 60.0,
        heads: ResponseHeads | None = None,
    ) -> None:
        self.address = address
        self.connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._max_idle = _MAX_IDLE
        # The one used last is at the end. A list is less to touch than a dictionary, in a pool among a thousand.
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._now = perf_counter()
        """When the pool was looked at last: how long a connection has been idle need not be known more exactly."""
        self.heads = ResponseHeads() if heads is None else heads
        self._tls = ssl.create_default_context() if address.tls else None
        self._lookup = None if is_ip(address.host) else HostLookup(address.host, address.port)

    def __repr__(self) -> str:
        return f"<ConnectionPool {self.address.url} [{len(self._open)} open, {len(self._idle)} idle]>"

    def take(self) -> UpstreamConnection | None:
        """Take an idle connection, if there is one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    def connect(
        self,
        done: Callable[[UpstreamConnection], None],
        failed: Callable[[UpstreamError], None],
        within: float | None = None,
    ) -> asyncio.Task[None]:
        """Open a connection and call one of the two; cancelling the task calls neither.

        ``within`` are the seconds that it may take, where that is not ``connect_timeout``.
        """
        task = asyncio.get_running_loop().create_task(self._connect(done, failed, within or self.connect_timeout))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def closed(self, connection: UpstreamConnection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is complete for the next one; one that is closing is forgotten soon."""
        idle = self._idle
        if len(idle) < self._max_idle:
            connection.idle_since = self._now
            idle.append(connection)
        else:
            connection.transport.close()

    def tick(self, now: float) -> None:
        """Close connections that have been idle for too long; ``now`` is a ``perf_counter`` reading."""
        self._now = now
        idle = self._idle
        while idle and now - idle[0].idle_since >= self._idle_timeout:
            idle.pop(0).transport.close()

    @property
    def retired(self) -> bool:
        """Whether connections are no longer kept."""
        return self._max_idle == 0

    def retire(self) -> None:
        """Keep no connection any more: close the idle ones now, and the others when their exchanges are complete."""
        self._max_idle = 0
        while self._idle:
            self._idle.pop().transport.close()

    def close(self) -> None:
        """Close every connection, also those in use."""
        for task in list(self._connecting):
            task.cancel()
        for connection in list(self._open):
            connection.transport.abort()

    async def _connect(
        self, done: Callable[[UpstreamConnection], None], failed: Callable[[UpstreamError], None], within: float
    ) -> None:
        loop = asyncio.get_running_loop()
        address = self.address
        try:
            async with asyncio.timeout(within):
                if address.path is not None:
                    _, connection = await loop.create_unix_connection(lambda: UpstreamConnection(self), address.path)
                else:
                    connection = await self._connect_by_name()
        except TimeoutError:
            failed(UpstreamError(f"The engine did not accept a connection within {within:g} s.", timed_out=True))
        except OSError as error:
            failed(UpstreamError(f"The engine refused the connection: {error.strerror or error}."))
        except UnicodeError:
            failed(UpstreamError(f"The engine's address {address.host!r} is not a host name."))
        else:
            # Only now it counts as open: a uvloop that is cancelled while connecting never calls ``connection_lost``.
            if connection.transport.is_closing():
                failed(UpstreamError("The engine closed the connection as soon as it was open."))
                return
            self._open.add(connection)
            done(connection)

    async def _connect_by_name(self) -> UpstreamConnection:
        """Try the addresses of the host one after another. Raises the ``OSError`` of the last, or ``UnicodeError``."""
        *others, last = [self.address.host] if self._lookup is None else await self._lookup.addresses()
        for host in others:
            with suppress(OSError):
                return await self._connect_to(host)
        return await self._connect_to(last)

    async def _connect_to(self, host: str) -> UpstreamConnection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: UpstreamConnection(self),
            host,
            self.address.port,
            ssl=self._tls,
            server_hostname=None if self._tls is None else self.address.host,
        )
        return connection


class ConnectionPools:
    """The pool of each address. Models that one engine serves, as adapters of one base model, share its connections.

    A thousand models would else need a thousand connections, and each would be cold in the kernel when its turn comes.
    """

    def __init__(self, *, connect_timeout: float, fast_paths: bool = True) -> None:
        self._connect_timeout = connect_timeout
        self._fast_paths = fast_paths
        self._newest = SharedHead[ResponseHead]()
        # Where replicas are discovered, addresses come and go: one that no replica has any more is forgotten.
        self._pools: WeakValueDictionary[str, ConnectionPool] = WeakValueDictionary()

    def set_connect_timeout(self, seconds: float) -> None:
        """Wait so long for a connection from now on."""
        self._connect_timeout = seconds
        for pool in self._pools.values():
            pool.connect_timeout = seconds

    def __repr__(self) -> str:
        return f"<ConnectionPools {list(self._pools.values())!r}>"

    def of(self, address: Address) -> ConnectionPool:
        """Give the pool of an address, made at its first use, and anew where it was retired."""
        pool = self._pools.get(address.url)
        if pool is None or pool.retired:
            heads = ResponseHeads(self._newest, enabled=self._fast_paths)
            pool = ConnectionPool(address, connect_timeout=self._connect_timeout, heads=heads)
            self._pools[address.url] = pool
        return pool
