"""Whether a replica lives: one health check per replica, which probes it at intervals and sets its state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import random
from time import perf_counter

import msgspec

from gateway.core.tasks import cancelled
from gateway.http.response_head import ResponseHead
from gateway.http.upstream import Receiver, UpstreamConnection, UpstreamError
from gateway.pools.model import Model
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState

_MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of a probe's response, more than this is not read."""

_LEFT_OUT = 5
"""Probes in a row that are left out at most while a replica answers requests."""

_JITTER = 0.2
"""How much intervals differ, as a share: gateways that start together would else probe together for ever."""

_SOONEST_SECONDS = 1.0
"""Two probes because requests found a replica failing are so far apart at least."""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """The response to a probe."""

    status: int
    body: bytes


class Probe(Receiver):
    """One request of the gateway's own to a replica, as a receiver that can be awaited.

    It is asked on a connection of its own, because a replica that takes no new connections is not well.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._connection: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._line = b""
        self._body = b""
        self._status = 0
        self._parts: list[bytes] = []
        self._bytes = 0
        self._done: asyncio.Future[ProbeAnswer] = asyncio.get_running_loop().create_future()

    async def get(self, path: bytes, within: float) -> ProbeAnswer:
        """Ask for ``path`` and wait ``within`` seconds at most. Raises ``UpstreamError`` or ``TimeoutError``."""
        return await self._ask(b"GET", path, b"", within)

    async def post(self, path: bytes, body: bytes, within: float) -> ProbeAnswer:
        """Send JSON to ``path`` and wait ``within`` seconds at most. Raises ``UpstreamError`` or ``TimeoutError``."""
        return await self._ask(b"POST", path, body, within)

    async def _ask(self, method: bytes, path: bytes, body: bytes, within: float) -> ProbeAnswer:
        self._line = b"%b %b" % (method, self._replica.address.target(path))
        self._body = body
        self._connecting = self._replica.connections.connect(self._send, self.receive_failure)
        try:
            async with asyncio.timeout(within):
                return await self._done
        finally:
            self._connecting.cancel()
            if self._connection is not None:
                self._connection.abort()

    def receive_head(self, head: ResponseHead) -> None:
        """Keep the status."""
        self._status = head.status

    def receive_data(self, data: bytes) -> None:
        """Keep the body, up to a limit."""
        if self._bytes <= _MAX_ANSWER_BYTES:
            self._parts.append(data)
            self._bytes += len(data)

    def receive_end(self) -> None:
        """The response is there. An engine that does not heed ``connection: close`` is not asked on it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.close()
        if not self._done.done():
            self._done.set_result(ProbeAnswer(self._status, b"".join(self._parts)))

    def receive_failure(self, error: UpstreamError) -> None:
        """There will be no response."""
        self._connection = None
        if not self._done.done():
            self._done.set_exception(error)

    def _send(self, connection: UpstreamConnection) -> None:
        replica = self._replica
        self._connection = connection
        kind = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(self._body) if self._body else b""
        connection.send(
            b"%b HTTP/1.1\r\n%b%baccept: */*\r\nconnection: close\r\n\r\n" % (self._line, replica.headers, kind),
            self._body,
            self,
        )


class _Card(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Cards(msgspec.Struct):
    data: list[_Card]


Prepare = Callable[[Replica], Awaitable[None]]
"""What is done with a replica that is well before it gets requests. It raises nothing."""


class HealthCheck:
    """Keeps one replica's state true by probing it, for all models of its pool.

    It probes only while the replica is ``up``: a remote one always is. ``models`` are those whose cards are read.
    ``phase`` is where in the interval it probes, from 0 to 1: checks begin together, and a thousand that went on
    together would hold up all requests for a quarter of a second each time. ``draw`` gives numbers from 0 to 1, by
    which intervals differ. ``prepare`` is awaited before a replica becomes ready.
    """

    def __init__(
        self,
        replica: Replica,
        models: Sequence[Model],
        *,
        interval: float,
        timeout: float,
        up: bool,
        phase: float = 1.0,
        draw: Callable[[], float] = random,
        prepare: Prepare | None = None,
    ) -> None:
        self._replica = replica
        self._draw = draw
        self._prepare = prepare
        self._models = models
        self._interval = interval
        self._timeout = timeout
        self._phase = phase
        self._left_out = _LEFT_OUT
        self._answers = replica.answers
        self._cards_read = False
        self._probed = asyncio.Event()
        self._suspected = asyncio.Event()
        self._probed_at = 0.0
        self._up = asyncio.Event()
        if up:
            self._up.set()
        replica.on_suspicion = self._suspected.set

    def __repr__(self) -> str:
        return f"<HealthCheck of {self._replica!r} [{'up' if self._up.is_set() else 'not up'}]>"

    def update(self, models: Sequence[Model], interval: float) -> None:
        """Probe for other models, or at another interval, from now on."""
        self._models, self._interval = models, interval

    def set_up(self, *, up: bool) -> None:
        """Set whether the replica's process is up."""
        if up:
            self._up.set()
        else:
            self._up.clear()

    async def first_probe(self) -> None:
        """Wait until the replica was probed for the first time, or is not probed any more."""
        await self._probed.wait()

    async def run(self) -> None:
        """Probe for ever, about every ``interval`` seconds, and at once where requests find the replica failing."""
        pause = self._interval * self._phase
        try:
            while True:
                await self._up.wait()
                await self.probe_if_needed()
                self._probed.set()
                await self._rest(pause)
                pause = self._interval * (1.0 + _JITTER * (self._draw() - 0.5))
        finally:
            self._probed.set()

    async def _rest(self, seconds: float) -> None:
        """Wait until the next probe is due, which is sooner where the replica is suspected or its ejection ends."""
        now, replica = perf_counter(), self._replica
        if replica.state is ReplicaState.EJECTED and replica.ejection is not None:
            seconds = min(seconds, max(0.0, replica.ejection.until - now))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._suspected.wait()
                await asyncio.sleep(self._probed_at + _SOONEST_SECONDS - perf_counter())

    async def probe_if_needed(self) -> None:
        """Probe, unless requests were answered since the last time, which says more than a probe would.

        Now and then it probes all the same: requests go over old connections, and an engine may take no new ones.
        """
        before, self._answers = self._answers, self._replica.answers
        answers = self._answers != before and self._replica.ready and not self._suspected.is_set()
        if answers and self._left_out < _LEFT_OUT:
            self._left_out += 1
        else:
            self._left_out = 0
            await self.probe()

    async def probe(self) -> None:
        """Ask once. Anything below 500 is a sign of life: not every remote engine has ``/health``."""
        replica = self._replica
        self._suspected.clear()
        self._probed_at = perf_counter()
        try:
            answer = await Probe(replica).get(b"/health", self._timeout)
        except (UpstreamError, TimeoutError) as error:
            reason = str(error) or f"No response to /health within {self._timeout:g} s."
        else:
            reason = "" if answer.status < 500 else f"/health answered {answer.status}."
        if not self._up.is_set():
            return
        if reason:
            self._cards_read = False
            replica.probe_failed(reason)
            return
        if not replica.ready and self._prepare is not None:
            await self._prepare(replica)
            if not self._up.is_set():
                return
        replica.probe_succeeded(perf_counter())
        if not self._cards_read and any(model.max_model_len is None for model in self._models):
            await self._read_cards()

    async def _read_cards(self) -> None:
        """Ask for the models' cards, which say how many tokens a request may have; not every engine's do."""
        try:
            answer = await Probe(self._replica).get(b"/v1/models", self._timeout)
        except (UpstreamError, TimeoutError):
            return
        self._cards_read = answer.status < 500
        try:
            cards = msgspec.json.decode(answer.body, type=_Cards).data
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        lengths = {card.id: card.max_model_len for card in cards if card.max_model_len is not None}
        for model in self._models:
            if model.upstream_name in lengths:
                model.set_max_model_len(lengths[model.upstream_name])


class HealthChecks:
    """One health check for each replica of a registry, those included that come and go while it runs.

    ``intervals`` are those of the pools, by name. Replicas that are ``supervised``, by name, are not up before the
    supervisor says so. ``draw`` gives numbers from 0 to 1, by which they are spread. ``prepare`` is awaited before one
    becomes ready.
    """

    def __init__(
        self,
        registry: Registry,
        intervals: Mapping[str, float],
        *,
        timeout: float,
        supervised: Collection[str] = (),
        draw: Callable[[], float] = random,
        prepare: Prepare | None = None,
    ) -> None:
        self._draw = draw
        self._registry = registry
        self._intervals = intervals
        self._timeout = timeout
        self._supervised = supervised
        self._prepare = prepare
        self._models: dict[Pool, list[Model]] = {}
        self._list_models()
        self._checks: dict[str, HealthCheck] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        replicas = [(pool, replica) for pool in registry.pools for replica in pool.replicas]
        for number, (pool, replica) in enumerate(replicas, 1):
            self._checks[replica.name] = self._check(pool, replica, phase=(number - draw()) / len(replicas))

    def __repr__(self) -> str:
        return f"<HealthChecks of {list(self._checks)}>"

    def set_up(self, replica: str, *, up: bool) -> None:
        """Set whether the process of a supervised replica is up; harmless for one that is not probed any more."""
        if replica in self._checks:
            self._checks[replica].set_up(up=up)

    def start(self) -> None:
        """Check from now on, on the running loop."""
        for name, check in self._checks.items():
            self._tasks[name] = asyncio.get_running_loop().create_task(check.run())
        for pool in self._registry.pools:
            pool.observe(self._follow)

    def follow(self, registry: Registry, intervals: Mapping[str, float]) -> None:
        """Check the replicas of a newer registry from now on; those that both have go on as they are."""
        for pool in self._registry.pools:
            pool.ignore(self._follow)
        self._registry, self._intervals = registry, intervals
        self._list_models()
        for pool in registry.pools:
            pool.observe(self._follow)
            for replica in pool.replicas:
                if replica.name in self._checks:
                    self._checks[replica.name].update(self._models[pool], intervals[pool.name])
        self._follow_all()

    async def first_probes(self) -> None:
        """Wait until every replica that is not supervised was probed once."""
        for name, check in list(self._checks.items()):
            if name not in self._supervised:
                await check.first_probe()

    async def stop(self) -> None:
        """Check no more."""
        await cancelled(self._tasks.values())

    def _check(self, pool: Pool, replica: Replica, phase: float) -> HealthCheck:
        return HealthCheck(
            replica,
            self._models[pool],
            interval=self._intervals[pool.name],
            timeout=self._timeout,
            up=replica.name not in self._supervised,
            phase=phase,
            draw=self._draw,
            prepare=self._prepare,
        )

    def _list_models(self) -> None:
        self._models = {}
        for model in self._registry.models:
            self._models.setdefault(model.pool, []).append(model)

    def _follow(self, _pool: Pool) -> None:
        self._follow_all()

    def _follow_all(self) -> None:
        """Begin to check the replicas that there are now, and end the checks of those that no pool has."""
        pools = self._registry.pools
        new = [(pool, each) for pool in pools for each in pool.replicas if each.name not in self._checks]
        for number, (pool, replica) in enumerate(new, 1):
            check = self._checks[replica.name] = self._check(pool, replica, phase=number / len(new))
            self._tasks[replica.name] = asyncio.get_running_loop().create_task(check.run())
        for name in self._checks.keys() - {replica.name for replica in self._registry.replicas}:
            del self._checks[name]
            self._tasks.pop(name).cancel()
