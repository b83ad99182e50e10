"""All exchanges under way: begun, visited by the ticker, and cancelled when the gateway drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from gateway.core.context import INTERNAL
from gateway.core.errors import ShuttingDown
from gateway.core.load_shedding import LoadShedding
from gateway.core.ticker import Sweep
from gateway.core.timers import TimerWheel
from gateway.exchange.exchange import Exchange
from gateway.exchange.ports import Deadlines
from gateway.exchange.race import CallLater, Timer
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http.downstream import Downstream
from gateway.observe.counters import Counters
from gateway.pools.pool import Pool

_SWEPT = 5.0
"""Deadlines nearer than so many seconds are kept to the hundredth; for others the ticker's sweep may be two late."""


def on_running_loop(seconds: float, callback: Callable[[], None]) -> Timer:
    """Call a function later on the running loop."""
    return asyncio.get_running_loop().call_later(seconds, callback)


class Dispatcher:
    """All exchanges under way."""

    def __init__(
        self,
        deadlines: Deadlines,
        metrics: Counters,
        call_later: CallLater = on_running_loop,
        *,
        shedding: LoadShedding | None = None,
        fast_paths: bool = True,
    ) -> None:
        self.set_deadlines(deadlines)
        self.metrics = metrics
        self.call_later = call_later
        self._shedding = LoadShedding(0.0) if shedding is None else shedding
        self.fast_paths = fast_paths
        self.exchanges: set[Exchange] = set()
        """Those under way; each leaves by itself at its end."""
        self._sweep: Sweep[Exchange] = Sweep(ticks=10, at_once=50)
        self._draining = False
        self._wheel: TimerWheel[Exchange] = TimerWheel(self._visit)

    def __repr__(self) -> str:
        return f"<Dispatcher [{len(self.exchanges)} exchanges]>"

    def __len__(self) -> int:
        return len(self.exchanges)

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def set_deadlines(self, deadlines: Deadlines) -> None:
        """Hold to other deadlines from now on, also for what is under way."""
        self.deadlines = deadlines
        self._short = deadlines.queue < _SWEPT

    def begin(
        self,
        pool: Pool,
        request: UpstreamRequest,
        client: Downstream,
        phases: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> Exchange:
        """Start an exchange, after its ``phases`` if there are any. Raises a ``GatewayError`` if it cannot start."""
        if self._draining:
            raise shutting_down()
        if self._shedding.share:
            self._shed(request)
        exchange = Exchange(self, pool, request, client)
        self.exchanges.add(exchange)
        try:
            if phases is None:
                exchange.start()
            else:
                exchange.prepare(phases())
        except BaseException:
            exchange.release()
            raise
        if self._short or pool.waits.short or request.context.head.timeout is not None:
            self._watch(exchange, perf_counter())
        return exchange

    def tick(self, now: float) -> None:
        """Let exchanges look at the clock, some at each tick; ``now`` is a ``perf_counter`` reading."""
        for exchange in self._sweep.next_batch(self.exchanges):
            if exchange in self.exchanges:
                exchange.tick(now)

    def stop(self) -> None:
        """Keep no deadline any more."""
        self._wheel.stop()

    def refuse_new(self) -> None:
        """From now on, refuse what comes and what waits in a queue."""
        self._draining = True
        for exchange in list(self.exchanges):
            if exchange.queued:
                exchange.cancel(shutting_down())

    def cancel_all(self) -> None:
        """End whatever is still under way."""
        for exchange in list(self.exchanges):
            exchange.cancel(shutting_down())

    def _shed(self, request: UpstreamRequest) -> None:
        """Refuse a request that is among the least important ones while the event loop is late.

        Raises ``GatewayOverloaded``. What another request waits for is never refused: that one was let through.
        """
        head = request.context.head
        if head.client != INTERNAL and self._shedding.refuses(max(head.key.priority, request.priority)):
            self.metrics.of(request.context.model).shed += 1
            raise self._shedding.refusal()

    def _watch(self, exchange: Exchange, now: float) -> None:
        """Look at an exchange at its next deadline, if that is near; the sweep sees to all others."""
        at = exchange.next_deadline(now)
        if at - now < _SWEPT:
            self._wheel.file(at, exchange)

    def _visit(self, exchange: Exchange, now: float) -> None:
        if exchange in self.exchanges:
            exchange.tick(now)
            if exchange in self.exchanges:
                self._watch(exchange, now)


def shutting_down() -> ShuttingDown:
    """Give the error of a gateway that drains."""
    return ShuttingDown("The gateway is shutting down; send it again, another one will take it.", retry_after=1.0)
