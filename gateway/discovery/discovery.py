"""Keeps the replicas of pools as their sources tell them: one ``Discovery`` for each pool that has a source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import perf_counter

from gateway.config.discovery import DiscoverTable, ServicePort
from gateway.core.tasks import cancelled
from gateway.discovery.dns import DnsSource
from gateway.discovery.file import FileSource
from gateway.discovery.kubernetes import KubernetesSource
from gateway.discovery.source import Source, SourceError
from gateway.discovery.troubles import Troubles
from gateway.pools.discovered import Discovered, Found
from gateway.pools.pool import Pool

_STEADY_SECONDS = 60.0
"""A source that has worked for so long begins to count its failures anew."""

SetFound = Callable[[Pool, Found], None]
"""Gives a pool the replicas that were found."""


def source_of(table: DiscoverTable) -> Source:
    """Make the source that a table names."""
    if table.dns is not None:
        return DnsSource(table.dns, table.interval)
    if table.file is not None:
        return FileSource(table.file)
    assert table.kubernetes is not None
    return KubernetesSource(ServicePort.parse(table.kubernetes))


class Discovery:
    """Asks the source of one pool, and gives the pool what it tells.

    What the pool has stays as it is while the source fails.
    """

    def __init__(self, pool: Pool, source: Source, max_replicas: int, set_found: SetFound, troubles: Troubles) -> None:
        assert pool.discovered is not None
        self._pool = pool
        self._source = source
        self._max_replicas = max_replicas
        self._set_found = set_found
        self._troubles = troubles
        self._discovered: Discovered = pool.discovered
        self._found: Found | None = None
        self._answered = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Discovery of {self._pool.name!r} by {self._source!r}>"

    async def first_answer(self) -> None:
        """Wait until the source has answered or failed for the first time, or is not asked any more."""
        await self._answered.wait()

    async def run(self) -> None:
        """Ask for ever."""
        loop, failures = asyncio.get_running_loop(), 0
        try:
            while True:
                began = loop.time()
                try:
                    await self._source.watch(self._tell)
                except SourceError as error:
                    self._fail(str(error))
                failures = 1 if loop.time() - began > _STEADY_SECONDS else failures + 1
                await asyncio.sleep(self._source.pause(failures))
        finally:
            self._answered.set()

    def _tell(self, found: Found) -> None:
        discovered = self._discovered
        discovered.succeeded_at, discovered.trouble = perf_counter(), ""
        self._troubles.over()
        if len(found.urls) > self._max_replicas:
            self._troubles.tell(
                f"has {len(found.urls)} addresses, and max_replicas is {self._max_replicas}: the others are left out",
                kind="too many",
            )
            found = found._replace(urls=self._limited(found.urls))
        if found != self._found:
            self._found = found
            self._set_found(self._pool, found)
        self._answered.set()

    def _fail(self, reason: str) -> None:
        self._discovered.errors += 1
        self._discovered.trouble = reason
        known = len(self._discovered.urls)
        self._troubles.begin(f"{reason}; what was found before stays ({known})" if known else reason, kind=reason)
        self._answered.set()

    def _limited(self, urls: tuple[str, ...]) -> tuple[str, ...]:
        """Choose so many that none has to leave because another one came."""
        known = set(self._discovered.urls)
        return tuple(sorted(urls, key=lambda url: url not in known)[: self._max_replicas])


class Discoveries:
    """Asks the sources of all pools that have one.

    ``set_found`` gives a pool its replicas; ``say`` takes lines for people.
    """

    def __init__(
        self,
        set_found: SetFound,
        say: Callable[[str], None],
        *,
        source_of: Callable[[DiscoverTable], Source] = source_of,
    ) -> None:
        self._set_found = set_found
        self._say = say
        self._source_of = source_of
        self._running: dict[Pool, tuple[DiscoverTable, Discovery, asyncio.Task[None]]] = {}

    def __repr__(self) -> str:
        return f"<Discoveries {[discovery for _, discovery, _ in self._running.values()]!r}>"

    def follow(self, tables: Mapping[Pool, DiscoverTable]) -> None:
        """Ask these sources from now on; those that are asked already go on as they are."""
        for pool, (table, _, task) in list(self._running.items()):
            if tables.get(pool) != table:
                task.cancel()
                del self._running[pool]
        for pool, table in tables.items():
            if pool not in self._running:
                troubles = Troubles(f"discovery of {pool.name!r} by {table.source}", self._say)
                discovery = Discovery(pool, self._source_of(table), table.max_replicas, self._set_found, troubles)
                task = asyncio.get_running_loop().create_task(discovery.run())
                self._running[pool] = (table, discovery, task)

    async def first_answers(self) -> None:
        """Wait until every source has answered or failed once."""
        for _, discovery, _ in list(self._running.values()):
            await discovery.first_answer()

    async def stop(self) -> None:
        """Ask no more."""
        await cancelled(task for _, _, task in self._running.values())
