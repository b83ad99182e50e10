"""Conversations with the data plane in memory: events in, bytes out, no sockets and no clock.

A ``Playbook`` is a whole data plane (listener, pipeline, dispatcher, one pool) whose clients and engines are transports
in memory. A test reads like a script: what a client sends, what an engine gets, what the engine says, what the client
gets. Time passes only when the test says so, by ``tick``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.api.pipeline import Pipeline
from gateway.api.snapshot import Snapshot
from gateway.batches.store import BatchStore
from gateway.config.gateway import GatewayConfig
from gateway.config.model_timeouts import ModelTimeouts
from gateway.config.types import ALL_TASKS
from gateway.core.limits import LocalUsage
from gateway.core.load_shedding import LoadShedding
from gateway.exchange.dispatcher import Dispatcher
from gateway.files.store import FileStore
from gateway.http.address import Address
from gateway.http.client_connection import ClientConnection
from gateway.http.connection_pool import ConnectionPool
from gateway.http.listener import Listener
from gateway.http.upstream import UpstreamConnection, UpstreamError
from gateway.observe.counters import Counters
from gateway.observe.tracing.tracer import Tracer
from gateway.pools.admission import Admission
from gateway.pools.model import Model
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.pools.timeouts import Timeouts
from tests.kit.memory import MemoryTransport

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


class Client:
    """One client's connection."""

    def __init__(self, listener: Listener) -> None:
        self.connection = ClientConnection(listener)
        self.transport = MemoryTransport(self.connection)
        self.connection.connection_made(self.transport)
        self._read = 0

    def sends(self, data: bytes) -> None:
        """Send bytes, which arrive in one read."""
        self.connection.data_received(data)

    def got(self) -> bytes:
        """Return what has come since this was asked last."""
        before, self._read = self._read, len(self.transport.written)
        return bytes(self.transport.written[before:])

    def leaves(self) -> None:
        """Close the connection, which the gateway sees in the next turn of the loop."""
        self.transport.lose(None)

    def stops_reading(self) -> None:
        """Let the gateway's writes pile up."""
        self.transport.unread = 1_000_000
        self.connection.pause_writing()

    def reads_on(self) -> None:
        """Read what has piled up."""
        self.transport.unread = 0
        self.connection.resume_writing()


class Line:
    """The engine's end of one connection from the gateway."""

    def __init__(self, engine: Engine) -> None:
        self.connection = UpstreamConnection(engine)
        self.transport = EngineTransport(self, engine)
        self.connection.connection_made(self.transport)
        self._read = 0

    def got(self) -> bytes:
        """Return what the gateway has sent since this was asked last."""
        before, self._read = self._read, len(self.transport.written)
        return bytes(self.transport.written[before:])

    def says(self, *pieces: bytes) -> None:
        """Send pieces, each of which arrives in a read of its own."""
        for piece in pieces:
            self.connection.data_received(piece)

    def closes(self, error: Exception | None = None) -> None:
        """Close the connection, with an error if it is reset; the gateway sees it in the next turn of the loop."""
        self.transport.lose(error)

    @property
    def aborted(self) -> bool:
        """Whether the gateway has closed it at once, which tells an engine to stop."""
        return self.transport.aborted


class EngineTransport(MemoryTransport):
    """The gateway's end of a line, whose engine notes which line was asked last."""

    def __init__(self, line: Line, engine: Engine) -> None:
        super().__init__(line.connection)
        self._line = line
        self._engine = engine

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self._engine.asked_on(self._line)


class Connecting:
    """A connection that is being opened, as a task that can be cancelled."""

    def __init__(self, done: Callable[[UpstreamConnection], None], failed: Callable[[UpstreamError], None]) -> None:
        self.done = done
        self.failed = failed
        self.cancelled = False

    def cancel(self) -> None:
        """Be given up."""
        self.cancelled = True


class Engine(ConnectionPool):
    """A replica's engine and the connections to it. Unless it is ``slow_to_accept`` there is always one more."""

    def __init__(self, number: int, asked: list[int]) -> None:
        super().__init__(Address.parse(f"http://engine-{number}"), connect_timeout=1.0)
        self._number = number
        self.name = f"m-{number}"
        self._order = asked
        self.lines: list[Line] = []
        self.asked: list[Line] = []
        """The line of each request, in their order."""
        self.connecting: list[Connecting] = []
        self.slow_to_accept = False

    @property
    def line(self) -> Line:
        """The connection that the latest request came on."""
        return self.asked[-1]

    @property
    def requests(self) -> int:
        """How many requests it has got."""
        return len(self.asked)

    def take(self) -> UpstreamConnection | None:
        """Give an idle connection, or a new one."""
        connection = super().take()
        return self._open_line() if connection is None and not self.slow_to_accept else connection

    def connect(
        self,
        done: Callable[[UpstreamConnection], None],
        failed: Callable[[UpstreamError], None],
        within: float | None = None,
    ) -> asyncio.Task[None]:
        """Begin to open a connection; ``accepts`` or ``refuses`` ends that."""
        connecting = Connecting(done, failed)
        self.connecting.append(connecting)
        return cast("asyncio.Task[None]", connecting)

    def accepts(self) -> None:
        """Open the connection that was asked for first."""
        connecting = self._next_connecting()
        if not connecting.cancelled:
            connecting.done(self._open_line())

    def refuses(self) -> None:
        """Refuse the connection that was asked for first."""
        connecting = self._next_connecting()
        if not connecting.cancelled:
            connecting.failed(UpstreamError("The engine refused the connection: Connection refused."))

    def says(self, *pieces: bytes) -> None:
        """Send pieces on the connection of the latest request."""
        self.line.says(*pieces)

    def asked_on(self, line: Line) -> None:
        """Note that a request has come."""
        self.asked.append(line)
        self._order.append(self._number)

    def _next_connecting(self) -> Connecting:
        return self.connecting.pop(0)

    def _open_line(self) -> UpstreamConnection:
        line = Line(self)
        self.lines.append(line)
        self._open.add(line.connection)
        return line.connection


class Clock:
    """The moments that the gateway reads from its clock, in place of ``time.perf_counter``."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def nanoseconds(self) -> int:
        """Read the clock in the place of ``time.perf_counter_ns``."""
        return int(self.now * 1e9)

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """Let every module of the gateway read a clock that stands still until a test moves it."""
        clock = cls()
        for name, module in list(sys.modules.items()):
            if name.startswith("gateway.") and hasattr(module, "perf_counter"):
                monkeypatch.setattr(module, "perf_counter", clock)
            if name.startswith("gateway.") and hasattr(module, "perf_counter_ns"):
                monkeypatch.setattr(module, "perf_counter_ns", clock.nanoseconds)
        return clock


class PlayTimer:
    """A call that comes when the test says so."""

    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.seconds = seconds
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Be called no more, and hold nothing any more, like the loop's timers."""
        self.callback = None


class Timers:
    """What is to be called later."""

    def __init__(self) -> None:
        self._waiting: list[PlayTimer] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> PlayTimer:
        """Note a call."""
        timer = PlayTimer(seconds, callback)
        self._waiting.append(timer)
        return timer

    @property
    def waiting(self) -> list[float]:
        """The seconds after which something is still to be called."""
        return [timer.seconds for timer in self._waiting if timer.callback is not None]

    def fire(self) -> None:
        """Call what was noted first and is still to be called."""
        while self._waiting:
            timer = self._waiting.pop(0)
            if timer.callback is not None:
                timer.callback()
                return
        raise AssertionError("nothing is to be called")


class Playbook:
    """A data plane in front of ``engines`` replicas of one model ``m``, all ready, which take turns.

    With a ``clock`` a test can let time pass.
    """

    def __init__(
        self,
        engines: int = 1,
        *,
        clock: Clock | None = None,
        limit: int | None = None,
        max_queue: int = 1024,
        max_tokens: int | None = None,
        hold: float = 0.0,
        queue_timeout: float | None = None,
        hedge: bool = False,
        recovery: bool = False,
        tracer: Tracer | None = None,
        **gateway: Any,
    ) -> None:
        self.config = GatewayConfig.model_validate(gateway)
        self.asked: list[int] = []
        """The numbers of the engines that got the requests, in their order."""
        self.engines = [Engine(number, self.asked) for number in range(engines)]
        self.replicas = [Replica(f"m-{number}", engine, ready=True) for number, engine in enumerate(self.engines)]
        self.pool = Pool(
            "m",
            self.replicas,
            policy=RoundRobin(),
            admission=Admission(limit, max_queue, max_tokens=max_tokens),
            hedge=hedge,
        )
        self.pool.set_waits(hold, queue_timeout)
        self.pool.ejections.configure(5.0, 5.0)
        self.pool.waits.set_timeouts(Timeouts.of(ModelTimeouts(), self.config.timeouts))
        registry = Registry([Model("m", self.pool, tasks=ALL_TASKS, recovery=recovery)])
        self.metrics = Counters()
        self.timers = Timers()
        self.shedding = LoadShedding(self.config.limits.max_loop_lag)
        self.dispatcher = Dispatcher(self.config.timeouts, self.metrics, self.timers.call_later, shedding=self.shedding)
        self.usage = LocalUsage()
        self._registry = registry
        snapshot = Snapshot.of(self.config, registry, self.usage)
        files = FileStore(self.config.files, self.metrics.files)
        self.pipeline = Pipeline(
            snapshot, self.dispatcher, self.metrics, None, "0", files, BatchStore(files, self.config.batches), tracer
        )
        self.listener = Listener(self.pipeline, self.config.limits, self.config.timeouts, self.metrics.wire)
        self.client = self.new_client()
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Playbook {self.listener!r} {self.dispatcher!r} {self.pool!r}>"

    def new_client(self) -> Client:
        """Connect one more client."""
        return Client(self.listener)

    def reload(self, **gateway: Any) -> None:
        """Go by another configuration of keys and limits from now on."""
        config = GatewayConfig.model_validate(gateway)
        self.pipeline.snapshot = Snapshot.of(config, self._registry, self.usage)

    async def turn(self) -> None:
        """Let the loop run what is to be called soon."""
        for _ in range(4):
            await asyncio.sleep(0)

    def tick(self, seconds: float = 0.0) -> None:
        """Let ``seconds`` pass at once, and the ticker tick until all have looked at the clock."""
        assert self._clock is not None
        # The first tick notes what has come until now.
        self._tick_once(self._clock.now)
        self._clock.now += seconds
        self._tick_once(self._clock.now)

    def _tick_once(self, now: float) -> None:
        self.listener.tick(now)
        self.dispatcher.tick(now)

    @property
    def last_asked(self) -> Engine:
        """The engine that got the latest request."""
        return self.engines[self.asked[-1]]

    def late_after(self, seconds: float) -> None:
        """Let the pool know that responses take so long, and that hedges can be afforded."""
        hedging = self.pool.hedging
        assert hedging is not None
        for _ in range(20):
            hedging.answered(seconds)
        for _ in range(40):
            hedging.asked()

    def attempts(self, outcome: str) -> dict[str, int]:
        """Return how many attempts at each replica ended so."""
        return dict(self.metrics.of("m").attempts[outcome])

    def aborts(self, reason: str) -> int:
        """Return how often an engine was told to stop for this reason."""
        return self.metrics.of("m").aborts[reason]

    def held(self) -> tuple[int, ...]:
        """Return what requests hold: slots, places in the queue, tokens, exchanges, and in flight at each replica."""
        admission = self.pool.admission
        in_flight = (replica.in_flight for replica in self.replicas)
        return admission.running, admission.waiting, self.pool.tokens_in_flight, len(self.dispatcher), *in_flight


def post(path: str = CHAT, *, headers: bytes = b"", **fields: Any) -> bytes:
    """Write a request for the model ``m``; ``headers`` are whole lines."""
    body = json.dumps({"model": "m", **fields}).encode()
    head = b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (path.encode(), headers, len(body))
    return head + body
