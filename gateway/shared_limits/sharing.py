"""Exchanges with the other nodes what keys and groups have used, in the background, for as long as Redis answers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from time import perf_counter, perf_counter_ns
from typing import Any
from urllib.parse import urlsplit

from gateway.config.gateway import Redis
from gateway.core.keys import Key
from gateway.core.sliding_window import Cell
from gateway.core.tasks import cancelled
from gateway.shared_limits.account import Account
from gateway.shared_limits.ledger import SCRIPT, Batch, Entry, Script, exchange

_EXCHANGE_SECONDS = 0.05
"""How often what was used is told to the others."""

_NEWS_SECONDS = 0.25
"""How often to ask what the others have used where there is nothing to tell them."""

_ANSWER_SECONDS = 0.5
"""Longest wait for an answer of Redis. Until then a node lives on what it has leased."""

_RETRY_SECONDS = 0.5
"""How long to wait before Redis is tried again."""

_LOOKED_AT_ONCE = 2000
"""So many rates are looked at in one turn of the event loop, which takes about 0.3 ms."""

_SHARE_OF_TIME = 0.02
"""How much of the loop's time may go into looking for what was used; more rates are looked at less often."""

_BATCH = 200
"""So many rates go into one call of Redis, which takes it about a millisecond."""


class NoClient(Exception):
    """The client library of Redis is not installed."""


class Sharing:
    """The accounts of this node, and the task that exchanges them.

    ``sharing`` is the cell that leases look at: the number of nodes while Redis answers, else 0. ``say`` is told in
    words when Redis begins or ceases to answer, and ``changed`` whether it does. Raises ``NoClient``.
    """

    def __init__(
        self, settings: Redis, sharing: Cell, say: Callable[[str], None], changed: Callable[[bool], None]
    ) -> None:
        self._connect = _client_of(settings.url)
        self._where = _shown(settings.url)
        self._prefix = settings.prefix
        self._sharing = sharing
        self._say = say
        self._changed = changed
        self._accounts: dict[str, Account] = {}
        self._node = secrets.token_hex(8)
        self._number = 0
        self._heard = self._nodes = 0
        self._unanswered: tuple[Batch, Sequence[Account]] | None = None
        """The batch that was sent last, until it is answered."""
        self._trouble = ""
        """Why limits are not shared."""
        self._settled = asyncio.Event()
        self._ending = False
        """Whether it is to end; a client of Redis may turn the cancellation of its task into an error of its own."""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "shared" if self._sharing[0] else f"not shared: {self._trouble or 'not yet'}"
        return f"<Sharing of {len(self._accounts)} rates at {self._where} [{state}]>"

    def follow(self, keys: Iterable[Key]) -> None:
        """Share the limits of these keys and of their groups from now on."""
        before, self._accounts = self._accounts, {}
        for key in keys:
            limits = key.limits
            for quota in () if limits is None else limits.quotas:
                for rate in quota.rates:
                    name = f"{quota.owner} {rate.name}"
                    if limits is None or rate.lease is None or name in self._accounts:
                        continue
                    account = before.get(name) or Account(name, rate, rate.lease, limits.lock)
                    account.follow(rate, rate.lease, limits.lock)
                    self._accounts[name] = account

    def reset(self, owner: str) -> None:
        """Tell the others that what a key or group has used was forgotten."""
        for name, account in self._accounts.items():
            if name.rpartition(" ")[0] == owner:
                account.reset()

    async def start(self) -> None:
        """Begin; return when it is known what the others have used, or that Redis does not answer."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._settled.wait()

    async def stop(self) -> None:
        """Give back what is leased, if Redis answers, and end."""
        if self._task is None:
            return
        self._ending = True
        await cancelled([self._task])
        self._task = None
        if self._sharing[0]:
            self._sharing[0] = 0
            # Nothing that a server answers may keep this node from ending.
            with suppress(Exception):
                async with asyncio.timeout(_ANSWER_SECONDS), self._connected() as script:
                    await self._redeliver(script)
                    for some in _batches(list(self._accounts.values())):
                        await self._tell(script, some, leaving=True)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Script]:
        client, script = self._connect()
        try:
            yield script
        finally:
            await client.aclose()

    async def _run(self) -> None:
        """Share for as long as Redis answers, and try it again when it does not; until it is stopped."""
        while not self._ending:
            try:
                async with self._connected() as script:
                    await self._share(script)
            except Exception as error:  # noqa: BLE001 - A server that answers garbage may let the client raise anything.
                self._lost(error)
            if not self._ending:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _share(self, script: Script) -> None:
        """Hear what the others have used, then exchange again and again. Raises whatever goes wrong."""
        await self._redeliver(script)
        for some in _batches(list(self._accounts.values())):
            await self._tell(script, some, afresh=True)
        self._shared()
        news_due = 0.0
        while not self._ending:
            began = perf_counter()
            stirred = await self._stirred()
            pause = max(_EXCHANGE_SECONDS, (perf_counter() - began) / _SHARE_OF_TIME)
            for some in _batches(stirred):
                if await self._tell(script, some):
                    news_due = began + _NEWS_SECONDS
            if began >= news_due:
                await self._send(script, [])
                news_due = began + _NEWS_SECONDS
            await asyncio.sleep(pause)

    async def _stirred(self) -> list[Account]:
        """Find the accounts that may have something to say."""
        accounts = list(self._accounts.values())
        found: list[Account] = []
        for start in range(0, len(accounts), _LOOKED_AT_ONCE):
            now = perf_counter_ns()
            found += [account for account in accounts[start : start + _LOOKED_AT_ONCE] if account.stirred(now)]
            await asyncio.sleep(0)
        return found

    async def _tell(
        self, script: Script, accounts: Sequence[Account], *, afresh: bool = False, leaving: bool = False
    ) -> bool:
        """Send what some accounts have to say; return whether there was anything."""
        now = perf_counter_ns()
        told = [
            (account, entry)
            for account in accounts
            if (entry := account.entry(now, afresh=afresh, leaving=leaving)) is not None
        ]
        if told:
            await self._send(script, told)
        return bool(told)

    async def _send(self, script: Script, told: Sequence[tuple[Account, Entry]]) -> None:
        """Send a batch, and take over the answers and the news."""
        self._number += 1
        batch = Batch(self._node, self._number, self._heard, [entry for _, entry in told])
        self._unanswered = batch, [account for account, _ in told]
        await self._redeliver(script)

    async def _redeliver(self, script: Script) -> None:
        """Send the batch that has no answer yet, if there is one."""
        if self._unanswered is None:
            return
        batch, accounts = self._unanswered
        async with asyncio.timeout(_ANSWER_SECONDS):
            reply = await exchange(script, self._prefix, batch)
        self._unanswered = None
        self._heard = reply.heard
        self._nodes = reply.nodes
        if self._sharing[0]:
            self._sharing[0] = reply.nodes
        now = perf_counter_ns()
        for account, entry, answer in zip(accounts, batch.entries, reply.answers, strict=True):
            account.settle(entry, answer, reply.now, now)
        answered = {entry.name for entry in batch.entries}
        for name, answer in reply.news:
            if name not in answered and name in self._accounts:
                self._accounts[name].hear(answer, reply.now, now)

    def _shared(self) -> None:
        if self._trouble or not self._settled.is_set():
            self._say(f"limits are shared with other nodes through Redis at {self._where}")
        self._trouble = ""
        self._sharing[0] = self._nodes
        self._changed(True)
        self._settled.set()

    def _lost(self, error: Exception) -> None:
        reason = _in_a_line(error) or f"no answer within {_ANSWER_SECONDS:g} s"
        if not self._trouble:
            self._say(f"limits hold for this node by itself until Redis at {self._where} answers: {reason}")
        self._trouble = reason
        self._sharing[0] = 0
        self._changed(False)
        self._settled.set()


def _client_of(url: str) -> Callable[[], tuple[Any, Script]]:
    """Return what makes a client of Redis and the script that it runs there. Raises ``NoClient``."""
    try:
        from redis.asyncio import Redis as Client
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise NoClient("gateway.redis: the package redis is not installed: pip install redis") from None

    def connect() -> tuple[Any, Script]:
        client = Client.from_url(
            url,
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
            protocol=2,
        )
        return client, client.register_script(SCRIPT)

    return connect


def _shown(url: str) -> str:
    """Show where a server is, without user and password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


def _in_a_line(error: Exception) -> str:
    """Give the kind of an error, which may be all that tells, and its text, which a server may have written."""
    text = "".join(each if each.isprintable() else " " for each in f"{error}"[:1000])
    return f"{type(error).__name__}: {' '.join(text.split())[:200]}" if text else ""


def _batches(accounts: Sequence[Account]) -> Iterator[Sequence[Account]]:
    for start in range(0, len(accounts), _BATCH):
        yield accounts[start : start + _BATCH]
