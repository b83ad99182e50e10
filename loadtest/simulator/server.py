"""The engine itself: it listens, knows its connections, and counts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from loadtest.simulator import status
from loadtest.simulator.adapters import LOADS, UNLOADS, LoraAdapters
from loadtest.simulator.batch import Batch, Timing
from loadtest.simulator.connection import Connection, ReceivedRequest
from loadtest.simulator.counts import Counts
from loadtest.simulator.engine_response import EngineResponse, ResponseContext, UnaryResponse
from loadtest.simulator.errors import UNREADABLE, EngineError
from loadtest.simulator.exchange import Exchange, Outcome
from loadtest.simulator.faults import NO_FAULTS, Faults
from loadtest.simulator.profile import Profile
from loadtest.simulator.routes import POST_ROUTES, answer_post, refusal
from loadtest.simulator.scheduler import Scheduler
from loadtest.simulator.sleep_mode import IS_SLEEPING, POST_PATHS, SequenceQueue, SleepMode

MAX_MODEL_LEN = 2**20
"""The default context length in tokens: enough not to be in a test's way."""

_CONTROL = "/sim/"
"""Paths below this steer the simulation: they suffer no faults and are not counted."""


class SimulatedEngine:
    """An engine that listens on a Unix socket (``uds``) or on a loopback port (``port``; 0: any free one).

    Use it as ``async with``, or ``start`` and ``close`` it. ``recorded`` says how many requests ``requests`` keeps.
    With a ``profile`` its steps, KV cache and prefix cache are modelled; otherwise it keeps the pace that ``timing``
    says. ``on_crash`` replaces what a crash does after it has reset all connections and closed the socket: nothing.
    With ``lora`` it takes LoRA adapters; with ``sleep_mode`` it can be put to sleep.
    """

    def __init__(
        self,
        model: str = "sim",
        *,
        uds: str | Path | None = None,
        port: int = 0,
        timing: Timing | None = None,
        profile: Profile | None = None,
        faults: Faults = NO_FAULTS,
        seed: int = 0,
        max_model_len: int = MAX_MODEL_LEN,
        recorded: int = 1000,
        on_crash: Callable[[], None] | None = None,
        lora: bool = False,
        sleep_mode: bool = False,
    ) -> None:
        self.model = model
        self.max_model_len = max_model_len if profile is None else min(max_model_len, profile.capacity)
        self.draw = random.Random(seed)  # noqa: S311 - reproducible faults, nothing secret
        self._paced = Batch(timing or Timing(), self._changed)
        self.batch: Batch | Scheduler = self._paced if profile is None else Scheduler(profile, self._changed)
        self.sleep_mode: SleepMode | None = SleepMode(self.batch, self._changed) if sleep_mode else None
        """Whether it sleeps, if it can."""
        self.queue: SequenceQueue = self.batch if self.sleep_mode is None else self.sleep_mode
        self.requests: deque[ReceivedRequest] = deque(maxlen=recorded)
        """The last POST requests, as they came over the wire."""
        self.adapters: LoraAdapters | None = LoraAdapters() if lora else None
        """Its LoRA adapters, if it takes any."""
        self._uds = None if uds is None else str(uds)
        self._port = port
        self._faults = faults
        self._on_crash = on_crash
        self._server: asyncio.Server | None = None
        self._listening_task: asyncio.Task[None] | None = None
        self._connections: set[Connection] = set()
        self._received = 0
        self._probes = 0
        self._accepted = 0
        self._events = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._watchers: dict[asyncio.Future[None], Callable[[SimulatedEngine], bool]] = {}

    def __repr__(self) -> str:
        return (
            f"<SimulatedEngine {self.model!r} {self.address} [{self.connections} connections; {self.running} running, "
            f"{self.waiting} waiting; {self.received} received, {self.served} served, {self.aborted} aborted, "
            f"{self.faulted} faulted]>"
        )

    # life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen, unless the faults say that connections are refused."""
        if not self._faults.refuse:
            await self._listen()

    async def close(self) -> None:
        """Reset all connections and stop listening."""
        if self._listening_task is not None:
            self._listening_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening_task
        self._stop_listening()
        for connection in list(self._connections):
            connection.transport.abort()
        await self.until(lambda engine: engine.connections == 0)
        self._remove_socket()

    def crash(self) -> None:
        """Die: reset all connections, listen no more, and leave a Unix socket's file behind."""
        self._stop_listening()
        for connection in list(self._connections):
            connection.crash()
        self._changed()
        if self._on_crash is not None:
            self._on_crash()

    async def restart(self) -> None:
        """Listen again after a crash."""
        await self._listen()

    @property
    def address(self) -> str:
        """Where it listens: ``unix:/path`` or ``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self._port}" if self._uds is None else f"unix:{self._uds}"

    @property
    def listening(self) -> bool:
        """Whether it accepts connections."""
        return self._server is not None

    # faults and timing, changeable at any time

    @property
    def faults(self) -> Faults:
        """What goes wrong with requests that arrive from now on."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        was, self._faults = self._faults, faults
        if faults.refuse and not was.refuse:
            self._stop_listening()
        elif was.refuse and not faults.refuse:
            self._listening_task = asyncio.get_running_loop().create_task(self._listen())

    @property
    def timing(self) -> Timing:
        """The pace that it keeps without a profile; a change applies to sequences that start from now on."""
        return self._paced.timing

    @timing.setter
    def timing(self, timing: Timing) -> None:
        self._paced.timing = timing

    # counts

    @property
    def received(self) -> int:
        """POST requests that arrived whole."""
        return self._received

    @property
    def served(self) -> int:
        """Answers written to their end."""
        return self._outcomes[Outcome.SERVED]

    @property
    def aborted(self) -> int:
        """Requests whose client closed before the response was complete."""
        return self._outcomes[Outcome.ABORTED]

    @property
    def faulted(self) -> int:
        """Answers that the engine itself broke off."""
        return self._outcomes[Outcome.FAULTED]

    @property
    def running(self) -> int:
        """Requests in the batch now."""
        return self.batch.running

    @property
    def waiting(self) -> int:
        """Requests that wait now, for room in the batch or for the engine to be woken."""
        return self.batch.waiting + (0 if self.sleep_mode is None else self.sleep_mode.held)

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        return self._accepted

    @property
    def probes(self) -> int:
        """GET requests so far."""
        return self._probes

    @property
    def blocked(self) -> int:
        """Connections whose client reads too slowly now."""
        return sum(connection.blocked for connection in self._connections)

    @property
    def events(self) -> int:
        """Server-sent events written so far."""
        return self._events

    @property
    def counts(self) -> Counts:
        """All counts at this moment."""
        return Counts(**{name: getattr(self, name) for name in Counts.__dataclass_fields__})

    async def until(self, condition: Callable[[SimulatedEngine], bool], timeout: float = 60.0) -> None:  # noqa: ASYNC109
        """Wait until a condition holds; it is looked at after each change. Raises ``TimeoutError``."""
        if condition(self):
            return
        met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers[met] = condition
        try:
            async with asyncio.timeout(timeout):
                await met
        except TimeoutError:
            raise TimeoutError(f"after {timeout:g} s the condition does not hold of {self!r}") from None
        finally:
            del self._watchers[met]

    # what connections call

    def opened(self, connection: Connection) -> None:
        """Count a new connection."""
        self._accepted += 1
        self._connections.add(connection)
        self._changed()

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._changed()

    def flow_changed(self) -> None:
        """Note that a connection became blocked or free."""
        self._changed()

    def idle_limit(self) -> float | None:
        """Return the seconds after which an idle connection is closed."""
        return self._faults.close_idle_after

    def received_request(self, connection: Connection, request: ReceivedRequest) -> Exchange:
        """Return the exchange that responses a request."""
        path, _, query = request.path.partition("?")
        if path.startswith(_CONTROL):
            return Exchange(self, connection, request, self._steer(request.method, path, request.body), NO_FAULTS)
        if request.method == "POST":
            self._received += 1
            self.requests.append(request)
            faults = self._faults.drawn(self.draw)
            if self.adapters is not None and path in (LOADS, UNLOADS):
                answer: EngineResponse = self.adapters.answer(path, request.body)
            elif self.sleep_mode is not None and path in POST_PATHS:
                answer = self.sleep_mode.answer(path, query, request.body)
            else:
                answer = answer_post(self._asked(path, request, faults))
        else:
            self._probes += 1
            faults = self._faults.drawn(self.draw) if self._faults.also_get else NO_FAULTS
            answer = self._answer_get(path) if request.method == "GET" else refusal(405)
        self._changed()
        return Exchange(self, connection, request, answer, faults)

    # what exchanges call

    def ended(self, request: ReceivedRequest, outcome: Outcome) -> None:
        """Count the end of an exchange, if it was one that counts."""
        if request.method == "POST" and not request.path.startswith(_CONTROL):
            self._outcomes[outcome] += 1
        self._changed()

    def wrote_events(self, count: int) -> None:
        """Count events."""
        self._events += count
        self._changed()

    # inside

    def _asked(self, path: str, request: ReceivedRequest, faults: Faults) -> ResponseContext:
        return ResponseContext(
            path=path,
            body=request.body,
            content_type=request.header("content-type") or "",
            model=self.model if self.adapters is None else self.adapters.named_in(request.body, self.model),
            id=request.header("x-request-id") or f"{self._received:032x}",
            max_model_len=self.max_model_len,
            faults=faults,
        )

    def _answer_get(self, path: str) -> EngineResponse:
        if path in ("/health", "/ping"):
            return UnaryResponse(b"", status=503 if self._faults.unhealthy else 200)
        if path == "/v1/models":
            loaded = {} if self.adapters is None else self.adapters.loaded
            return status.models(self.model, self.max_model_len, loaded)
        if path == IS_SLEEPING and self.sleep_mode is not None:
            return self.sleep_mode.is_sleeping()
        if path == "/version":
            return status.version()
        if path == "/metrics":
            return status.metrics(self.model, self.batch)
        return refusal(405 if path in POST_ROUTES else 404)

    def _steer(self, method: str, path: str, body: bytes) -> UnaryResponse:
        """Answer a request about the simulation itself."""
        if path == "/sim/counts" and method == "GET":
            return UnaryResponse(msgspec.json.encode(self.counts))
        if path != "/sim/faults" or method not in ("GET", "PUT"):
            return refusal(404)
        if method == "PUT":
            try:
                self.faults = Faults.decode(body)
            except UNREADABLE as error:
                return UnaryResponse(EngineError(str(error)).encode(), status=400)
        return UnaryResponse(self._faults.encode())

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._uds is not None:
            # What a crashed engine left behind would otherwise make this fail.
            self._remove_socket()
            self._server = await loop.create_unix_server(lambda: Connection(self), self._uds, backlog=4096)
        else:
            self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self._port, backlog=4096)
            self._port = self._server.sockets[0].getsockname()[1]
        self._changed()

    def _remove_socket(self) -> None:
        # Nothing else than a socket: a path that was mistyped may name a file that somebody needs.
        if self._uds is not None and Path(self._uds).is_socket():
            Path(self._uds).unlink(missing_ok=True)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._changed()

    def _changed(self) -> None:
        for met, condition in self._watchers.items():
            if not met.done() and condition(self):
                met.set_result(None)
