"""How the cost of a request grows with one thing at a time, everything else being equal: the scaling curves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from itertools import product
from statistics import median
from time import perf_counter
from typing import Any

from loadtest.bench.clients import ClientPool, request
from loadtest.bench.deployment import MOST_HOSTS, Deployment, DeploymentSpec, deployed, instant_engine
from loadtest.bench.launch import Server
from loadtest.summary import percentile

BUSY = 32
"""Connections that send without pause, unless the curve says another number."""

_STEADY_RATE = 2000.0
"""Requests a second to each process at which the points of a curve are compared: as on a busy node.

Without a pause between requests, a gateway that has one of everything is as warm as a benchmark can make it, and one
that has a thousand is not. Several processes share one core here, which so many requests to each of four do not fill.
"""

_STEADY_TIMES = 4
"""So many times as long as without pause, because there are fewer requests to count."""

_WARM_UP_SECONDS = 0.5

_SCRAPES = 5
"""One scrape alone may happen to be a fast one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLoad:
    """What is put on a gateway: how it is deployed, how many connections there are, and what they send."""

    spec: DeploymentSpec = field(default_factory=DeploymentSpec)
    connections: int = BUSY
    busy: int = BUSY
    """At most so many of the connections send without pause."""
    body_bytes: int = 0
    events: int = 0

    def requests(self, host: str) -> list[list[bytes]]:
        """Write the requests of each connection: with a key of its own, and to all models in turn."""
        spec = self.spec
        made = []
        for number in range(self.connections):
            # Connections begin at models and keys that lie far apart, so that all of them are used.
            key = spec.key(number * spec.keys // self.connections)
            first = number * spec.models // self.connections
            turns = -(-spec.models // min(self.connections, self.busy))
            made.append(
                [
                    request(host, key, spec.model(first + turn), body_bytes=self.body_bytes, events=self.events)
                    for turn in range(turns)
                ]
            )
        return made


@dataclass(frozen=True, slots=True)
class Curve:
    """One thing that grows."""

    name: str
    title: str
    """What is on the horizontal axis."""
    values: tuple[int, ...]
    load: Callable[[int], GatewayLoad]
    per: str = "request"
    """What the cost is of: a ``request`` or an ``event``."""
    limit: float | None = 1.3
    """How many times as much as at the first or at the cheapest value a point may cost."""
    rate: Callable[[int], float] | None = None
    """Requests a second at which points are compared; ``None``: they are compared without pause."""


CURVES: tuple[Curve, ...] = (
    Curve("connections", "connections", (1, 32, 100, 1000, 10_000), lambda n: GatewayLoad(connections=n)),
    Curve(
        "replicas",
        "replicas of a pool",
        (1, 10, 100, 1000),
        lambda n: GatewayLoad(spec=DeploymentSpec(replicas=n)),
        rate=lambda _: _STEADY_RATE,
    ),
    Curve(
        "models",
        "models",
        (1, 10, 100, 1000),
        lambda n: GatewayLoad(spec=DeploymentSpec(models=n)),
        rate=lambda _: _STEADY_RATE,
    ),
    Curve(
        "keys",
        "API keys",
        (1, 10, 100, 1000, 10_000, 100_000),
        lambda n: GatewayLoad(spec=DeploymentSpec(keys=n)),
        rate=lambda _: _STEADY_RATE,
    ),
    Curve(
        "processes",
        "processes",
        (1, 2, 4),
        lambda n: GatewayLoad(spec=DeploymentSpec(processes=n), connections=BUSY * n, busy=BUSY * n),
        limit=1.1,
        rate=lambda n: _STEADY_RATE * n,
    ),
    Curve(
        "body",
        "body of a request, in bytes",
        (200, 2000, 20_000, 200_000, 1_000_000, 10_000_000),
        lambda n: GatewayLoad(body_bytes=n),
        limit=None,
    ),
    Curve("events", "events of a stream", (1, 10, 100, 1000, 10_000), lambda n: GatewayLoad(events=n), per="event"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one point. ``cpu_us`` is the gateway's processor time per request or event.

    All is for connections that send without pause, but for ``steady_cpu_us``, which is for the rate of the curve if it
    has one.
    """

    responses: int
    failed: int
    failure: str
    per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    steady_cpu_us: float | None


async def measure(
    curve: Curve,
    values: Sequence[int],
    *,
    seconds: float,
    rounds: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Measure the points of a curve, each in several rounds that go over all points, and return the medians."""
    samples: dict[int, list[Sample]] = {value: [] for value in values}
    resting: dict[int, dict[str, float]] = {}
    async with instant_engine(hosts=MOST_HOSTS if curve.name == "replicas" else 1) as engine:
        gateways = _OneAtATime(engine)
        try:
            for number, value in product(range(rounds), values):
                load = curve.load(value)
                gateway = await gateways.of(load.spec)
                rate = None if curve.rate is None else curve.rate(value)
                measured = await sample(gateway, load, curve.per, seconds, rate)
                samples[value].append(measured)
                cost = measured.cpu_us if measured.steady_cpu_us is None else measured.steady_cpu_us
                log(f"{curve.name} {value:,}: {cost:.1f} us per {curve.per} (round {number + 1})")
                if number == rounds - 1:
                    resting[value] = await _idle(gateway, seconds)
        finally:
            await gateways.close()
    points = [_point(value, samples[value]) | resting[value] for value in values]
    compared = "cpu_us" if curve.rate is None else "steady_cpu_us"
    cheapest = points[0][compared]
    for point in points:
        cheapest = min(cheapest, point[compared])
        point["times_first"] = round(point[compared] / points[0][compared], 3)
        point["times_cheapest"] = round(point[compared] / cheapest, 3)
        if curve.rate is not None:
            point["steady_rate"] = curve.rate(point["value"])
    return {
        "curve": curve.name,
        "per": curve.per,
        "limit": curve.limit,
        "compared": compared,
        "seconds": seconds,
        "rounds": rounds,
        "busy_connections": BUSY,
        "points": points,
    }


async def sample(
    gateway: Server, load: GatewayLoad, per: str, seconds: float, steady_rate: float | None = None
) -> Sample:
    """Put load on a gateway for so many seconds, and measure what that costs it.

    With a ``steady_rate`` of requests a second that is put on it as well, for longer.
    """
    clients = ClientPool(gateway.address)
    busy = min(load.connections, load.busy)
    try:
        await clients.open(load.requests("bench"))
        if load.connections > busy:
            await clients.send_once()
        # Each model and replica has its connection before the first request that counts.
        responses, wanted = 0, 2 * max(load.spec.models, load.spec.replicas)
        while responses < wanted:
            warm = await clients.run_busy(busy, min(_WARM_UP_SECONDS, seconds))
            responses = wanted if warm.failed else responses + warm.responses
        gc.collect()
        gc.disable()
        used, began = gateway.cpu_seconds, perf_counter()
        tally = await clients.run_busy(busy, seconds)
        used, lasted = gateway.cpu_seconds - used, perf_counter() - began
        steady = None
        if steady_rate is not None:
            before = gateway.cpu_seconds
            steady_tally = await clients.run_at_rate(busy, seconds * _STEADY_TIMES, rate=steady_rate)
            steady = (gateway.cpu_seconds - before) / max(1, steady_tally.responses) * 1e6
            tally.failed += steady_tally.failed
            tally.failure = tally.failure or steady_tally.failure
    finally:
        gc.enable()
        await clients.close()
    # Usage and the end marker are events too, but not what was asked for.
    if tally.events != tally.responses * (load.events + 2 if load.events else 0):
        tally.fail(f"{tally.events} events came in {tally.responses} streams of {load.events} each")
    number = tally.responses * (load.events if per == "event" else 1)
    micros = [each * 1e6 for each in tally.seconds] or [0.0]
    return Sample(
        responses=tally.responses,
        failed=tally.failed,
        failure=tally.failure,
        per_second=number / lasted,
        cpu_us=used / max(1, number) * 1e6,
        p50_us=percentile(micros, 50),
        p99_us=percentile(micros, 99),
        steady_cpu_us=steady,
    )


async def _idle(gateway: Deployment, seconds: float) -> dict[str, float]:
    """Measure a gateway without requests: its memory, its share of a core, and what a scrape of its metrics takes."""
    resident = gateway.resident_bytes / 2**20
    used, began = gateway.cpu_seconds, perf_counter()
    await asyncio.sleep(seconds)
    share = (gateway.cpu_seconds - used) / (perf_counter() - began)
    used = gateway.cpu_seconds
    for _ in range(_SCRAPES):
        await gateway.control_page("/metrics")
    return {
        "resident_mib": round(resident, 1),
        "idle_cpu_percent": round(share * 100, 1),
        "scrape_cpu_ms": round((gateway.cpu_seconds - used) / _SCRAPES * 1000, 1),
    }


def _point(value: int, samples: Sequence[Sample]) -> dict[str, Any]:
    """Take the median of each figure over the rounds, and keep what each round gave."""
    steady = [each.steady_cpu_us for each in samples if each.steady_cpu_us is not None]
    return {
        "value": value,
        "responses": sum(each.responses for each in samples),
        "failed": sum(each.failed for each in samples),
        **{
            name: round(median(getattr(each, name) for each in samples), 2)
            for name in ("per_second", "cpu_us", "p50_us", "p99_us")
        },
        **({"steady_cpu_us": round(median(steady), 2)} if steady else {}),
        "rounds": [asdict(each) for each in samples],
    }


class _OneAtATime:
    """One deployment at a time: the one that runs, if it has the specification, else a new one in its place."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._stack = AsyncExitStack()
        self._running: Deployment | None = None

    async def of(self, spec: DeploymentSpec) -> Deployment:
        """Return the deployment of a specification."""
        if self._running is None or self._running.spec != spec:
            await self.close()
            self._running = await self._stack.enter_async_context(deployed(spec, self._engine))
        return self._running

    async def close(self) -> None:
        """Stop what runs."""
        self._running = None
        await self._stack.aclose()
