"""All exchanges under way: begun, visited by the ticker, and cancelled when the gateway drains."""

from __future__ import annotations

from gateway.core.errors import ShuttingDown
from gateway.core.ticker import Sweep
from gateway.exchange.exchange import Exchange
from gateway.exchange.ports import Deadlines
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http.downstream import Downstream
from gateway.observe.counters import Counters
from gateway.pools.pool import Pool


class Dispatcher:
    """All exchanges under way."""

    def __init__(self, deadlines: Deadlines, metrics: Counters) -> None:
        self.deadlines = deadlines
        self.metrics = metrics
        self.exchanges: set[Exchange] = set()
        """Those under way; each leaves by itself at its end."""
        self._sweep: Sweep[Exchange] = Sweep(ticks=10, at_once=50)
        self._draining = False

    def __repr__(self) -> str:
        return f"<Dispatcher [{len(self.exchanges)} exchanges]>"

    def __len__(self) -> int:
        return len(self.exchanges)

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def begin(self, pool: Pool, request: UpstreamRequest, client: Downstream) -> Exchange | None:
        """Start an exchange; ``None`` if it is over already. Raises a ``GatewayError`` if it cannot start."""
        if self._draining:
            raise shutting_down()
        exchange = Exchange(self, pool, request, client)
        self.exchanges.add(exchange)
        try:
            exchange.start()
        except BaseException:
            exchange.release()
            raise
        return exchange

    def tick(self, now: float) -> None:
        """Let exchanges look at the clock, some at each tick; ``now`` is a ``perf_counter`` reading."""
        for exchange in self._sweep.next_batch(self.exchanges):
            if exchange in self.exchanges:
                exchange.tick(now)

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


def shutting_down() -> ShuttingDown:
    """Give the error of a gateway that drains."""
    return ShuttingDown("The gateway is shutting down; send it again, another one will take it.", retry_after=1.0)
