"""How many requests others have at each replica: what its engine says of its load, less what was sent from here.

The requests of this gateway are counted as they come and go, which is exact and never late. What the engine says is a
second old and covers everyone, so it only corrects that count, slowly, where replicas are shared with other gateways or
with clients that ask them directly. It is asked for only where a policy reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from gateway.core.tasks import cancelled
from gateway.http.response_head import ResponseHead
from gateway.http.upstream import UpstreamError
from gateway.pools import engine_load
from gateway.pools.engine_load import EngineLoad
from gateway.pools.health import Probe
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica

_SECONDS = 1.0
"""How often a replica is asked."""

_MOST_ASKED = 50
"""How many replicas are asked in a second at most; where there are more, each is asked less often."""

_WITHIN = 2.0
"""Longest wait for an answer, in seconds."""

_STALE_SECONDS = 5.0
"""What is older is not known any more, and corrects nothing."""

_SILENT_SECONDS = 60.0
"""How long an engine is left alone that has no such metrics."""

_WEIGHT = 0.3
"""How much each answer changes the estimate: requests that are just coming or going are noise."""


class _Signal:
    """What is known of one replica."""

    def __init__(self) -> None:
        self.heard_at = float("-inf")
        self.silent_until = float("-inf")
        self.head: ResponseHead | None = None
        """The last head of a response that was looked at."""


class LoadSignals:
    """Keeps ``foreign`` and ``cache_tokens`` of replicas as their engines tell them.

    ``changed`` is called with a replica of which either is another now. ``seconds`` is how often each is asked.
    """

    def __init__(self, registry: Registry, changed: Callable[[Replica], None], seconds: float = _SECONDS) -> None:
        self._registry = registry
        self._changed = changed
        self._seconds = seconds
        self._signals: dict[Replica, _Signal] = {}
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<LoadSignals of {len(self._signals)} replicas>"

    def start(self) -> None:
        """Ask from now on, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Ask no more."""
        await cancelled([] if self._task is None else [self._task])

    def follow(self, registry: Registry) -> None:
        """Go by the replicas of a newer registry from now on."""
        self._registry = registry

    async def look(self) -> None:
        """Ask every replica once whose policy reads its load."""
        read = [
            replica
            for pool in self._registry.pools
            if getattr(pool.policy, "reads_load", False) and len(pool.replicas) > 1
            for replica in pool.replicas
        ]
        self._signals = {replica: self._signals.get(replica) or _Signal() for replica in read}
        for start in range(0, len(read), _MOST_ASKED):
            batch = read[start : start + _MOST_ASKED]
            await asyncio.gather(*(self._ask(replica, self._signals[replica]) for replica in batch))
            if start + _MOST_ASKED < len(read):
                await asyncio.sleep(self._seconds)

    # inside

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look()

    async def _ask(self, replica: Replica, signal: _Signal) -> None:
        """Take over what a replica has said in a response since the last time, or else ask it."""
        own, now = replica.in_flight, monotonic()
        load = _said(replica, signal)
        if load is None and replica.ready and now >= signal.silent_until:
            try:
                answer = await Probe(replica).get(b"/metrics", _WITHIN)
            except (UpstreamError, TimeoutError):
                answer = None
            if answer is not None:
                load = engine_load.in_metrics(answer.body) if answer.status == 200 else None
                if load is None:
                    signal.silent_until = now + _SILENT_SECONDS
        if load is not None:
            signal.heard_at = now
            # Of what was sent or has ended meanwhile, either count may be right.
            others = max(0.0, load.requests - max(own, replica.in_flight))
            self._set(replica, replica.foreign + (others - replica.foreign) * _WEIGHT, load.cache_tokens)
        elif now - signal.heard_at > max(_STALE_SECONDS, 3 * self._seconds * len(self._signals) / _MOST_ASKED):
            self._set(replica, 0.0, 0)

    def _set(self, replica: Replica, foreign: float, cache_tokens: int) -> None:
        foreign = foreign if foreign >= 0.1 else 0.0
        cache_tokens = cache_tokens or replica.cache_tokens
        if (foreign, cache_tokens) != (replica.foreign, replica.cache_tokens):
            replica.foreign, replica.cache_tokens = foreign, cache_tokens
            self._changed(replica)


def _said(replica: Replica, signal: _Signal) -> EngineLoad | None:
    """Read what the head of a response has said that has come since the last look."""
    head = replica.connections.heads.latest_load
    if head is None or head is signal.head or head.load is None:
        return None
    signal.head = head
    return engine_load.in_header(head.load)
