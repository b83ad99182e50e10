"""Finds replicas by a name: each of its A and AAAA records is one.

The system's resolver is asked (``getaddrinfo``), which reads ``/etc/hosts`` and ``resolv.conf`` as all other programs
do. It does not tell how long an answer holds (the TTL), so the name is asked for at an interval of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from gateway.discovery.source import SourceError, Tell
from gateway.http.address import Address
from gateway.http.host_lookup import HostLookup
from gateway.pools.discovered import Found

Resolve = Callable[[str, int], Awaitable[Iterable[str]]]
"""Gives the IP addresses of a host; it is given a port too. Raises ``OSError`` where there are none."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver for the addresses of both families. Raises ``OSError``."""
    return await HostLookup(host, port).addresses()


class DnsSource:
    """Asks for the addresses of the host in ``url`` every ``interval`` seconds, one question at a time.

    An answer without an address is an error, as no answer is: a name that a deployment takes away for a moment, or a
    resolver that is ill, must not leave a pool without replicas.
    """

    def __init__(self, url: str, interval: float, resolve: Resolve = resolve) -> None:
        self._address = Address.parse(url)
        self._path = urlsplit(url).path
        self._interval = interval
        self._resolve = resolve

    def __repr__(self) -> str:
        return f"<DnsSource {self._address.url} every {self._interval:g} s>"

    async def watch(self, tell: Tell) -> None:
        """Tell the addresses at each interval. Raises ``SourceError``."""
        while True:
            tell(await self.look())
            await asyncio.sleep(self._interval)

    def pause(self, _failures: int) -> float:
        """Ask again at the usual interval."""
        return self._interval

    async def look(self) -> Found:
        """Ask once. Raises ``SourceError``."""
        host, port = self._address.host, self._address.port
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise SourceError(f"{host!r} was not resolved: {getattr(error, 'strerror', None) or error}") from None
        hosts = (f"[{each}]" if ":" in each else each for each in addresses)
        urls = sorted({f"http://{each}:{port}{self._path}" for each in hosts})
        if not urls:
            raise SourceError(f"{host!r} has no addresses")
        return Found(tuple(urls))
