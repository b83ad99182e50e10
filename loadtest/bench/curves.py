"""How the cost of a request grows with one thing at a time, everything else being equal."""

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

from loadtest.bench.crowd import Crowd, request
from loadtest.bench.deployment import MOST_HOSTS, Deployment, Plan, Running, deployed, instant_engine
from loadtest.summary import percentile

BUSY = 32
"""Connections that ask without pause, unless the curve says another number."""

_STEADY_RATE = 2000.0
"""Requests a second to each process at which the points of a curve are compared: what a busy node may see in earnest.

Asked without pause, a gateway that has one thing to do is as warm as a benchmark can make it, and one that has a
thousand is not. Several processes share one core here, which so many requests to each of four do not fill.
"""

_STEADY_TIMES = 4
"""So many times as long as without pause, because there are fewer requests to count."""

_WARM_UP_SECONDS = 0.5

_SCRAPES = 5
"""One scrape alone may happen to be a fast one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one point puts on the gateway."""

    plan: Plan = field(default_factory=Plan)
    connections: int = BUSY
    busy: int = BUSY
    """At most so many of the connections ask without pause."""
    body_bytes: int = 0
    events: int = 0

    def requests(self, host: str) -> list[list[bytes]]:
        """Write what each connection asks: its own key, and the models each in turn."""
        plan = self.plan
        made = []
        for number in range(self.connections):
            # Connections begin at models and keys that lie far apart, so that all of them are used.
            key = plan.key(number * plan.keys // self.connections)
            first = number * plan.models // self.connections
            turns = -(-plan.models // min(self.connections, self.busy))
            made.append(
                [
                    request(host, key, plan.model(first + turn), body_bytes=self.body_bytes, events=self.events)
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
    shape: Callable[[int], Shape]
    per: str = "request"
    """What the cost is of: a ``request`` or an ``event``."""
    limit: float | None = 1.3
    """How many times as much as at the first or at the cheapest value a point may cost."""
    rate: Callable[[int], float] | None = None
    """Requests a second at which points are compared; where there is none, they are when asked without pause."""


CURVES: tuple[Curve, ...] = (
    Curve("connections", "connections", (1, 32, 100, 1000, 10_000), lambda n: Shape(connections=n)),
    Curve(
        "replicas",
        "replicas of a pool",
        (1, 10, 100, 1000),
        lambda n: Shape(plan=Plan(replicas=n)),
        rate=lambda _: _STEADY_RATE,
    ),
    Curve("models", "models", (1, 10, 100, 1000), lambda n: Shape(plan=Plan(models=n)), rate=lambda _: _STEADY_RATE),
    Curve(
        "keys",
        "API keys",
        (1, 10, 100, 1000, 10_000, 100_000),
        lambda n: Shape(plan=Plan(keys=n)),
        rate=lambda _: _STEADY_RATE,
    ),
    Curve(
        "processes",
        "processes",
        (1, 2, 4),
        lambda n: Shape(plan=Plan(processes=n), connections=BUSY * n, busy=BUSY * n),
        limit=1.1,
        rate=lambda n: _STEADY_RATE * n,
    ),
    Curve(
        "body",
        "body of a request, in bytes",
        (200, 2000, 20_000, 200_000, 1_000_000, 10_000_000),
        lambda n: Shape(body_bytes=n),
        limit=None,
    ),
    Curve("events", "events of a stream", (1, 10, 100, 1000, 10_000), lambda n: Shape(events=n), per="event"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one point. ``cpu_us`` is the gateway's processor time per request or event.

    All is for connections that ask without pause, but for ``steady_cpu_us``, which is for the rate of the curve if it
    has one.
    """

    answers: int
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
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Measure the points of a curve, each in several rounds that go over all points, and return the medians."""
    samples: dict[int, list[Sample]] = {value: [] for value in values}
    resting: dict[int, dict[str, float]] = {}
    async with instant_engine(hosts=MOST_HOSTS if curve.name == "replicas" else 1) as engine:
        gateways = _OneAtATime(engine)
        try:
            for number, value in product(range(rounds), values):
                shape = curve.shape(value)
                gateway = await gateways.of(shape.plan)
                rate = None if curve.rate is None else curve.rate(value)
                measured = await sample(gateway, shape, curve.per, seconds, rate)
                samples[value].append(measured)
                cost = measured.cpu_us if measured.steady_cpu_us is None else measured.steady_cpu_us
                tell(f"{curve.name} {value:,}: {cost:.1f} us per {curve.per} (round {number + 1})")
                if number == rounds - 1:
                    resting[value] = await _at_rest(gateway, seconds)
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


async def sample(gateway: Running, shape: Shape, per: str, seconds: float, steady_rate: float | None = None) -> Sample:
    """Put a shape of load on a gateway for so many seconds, and measure what that costs it.

    With a ``steady_rate`` of requests a second it is asked at that rate as well, for longer.
    """
    crowd = Crowd(gateway.address)
    busy = min(shape.connections, shape.busy)
    try:
        await crowd.open(shape.requests("bench"))
        if shape.connections > busy:
            await crowd.ask_once()
        # Each model and replica has its connection before the first request that counts.
        answers, wanted = 0, 2 * max(shape.plan.models, shape.plan.replicas)
        while answers < wanted:
            warm = await crowd.ask_busily(busy, min(_WARM_UP_SECONDS, seconds))
            answers = wanted if warm.failed else answers + warm.answers
        gc.collect()
        gc.disable()
        used, began = gateway.cpu_seconds, perf_counter()
        tally = await crowd.ask_busily(busy, seconds)
        used, lasted = gateway.cpu_seconds - used, perf_counter() - began
        steady = None
        if steady_rate is not None:
            before = gateway.cpu_seconds
            at_rest = await crowd.ask_steadily(busy, seconds * _STEADY_TIMES, rate=steady_rate)
            steady = (gateway.cpu_seconds - before) / max(1, at_rest.answers) * 1e6
            tally.failed += at_rest.failed
            tally.failure = tally.failure or at_rest.failure
    finally:
        gc.enable()
        await crowd.close()
    # Usage and the end marker are events too, but not what was asked for.
    if tally.events != tally.answers * (shape.events + 2 if shape.events else 0):
        tally.fail(f"{tally.events} events came in {tally.answers} streams of {shape.events} each")
    number = tally.answers * (shape.events if per == "event" else 1)
    micros = [each * 1e6 for each in tally.seconds] or [0.0]
    return Sample(
        answers=tally.answers,
        failed=tally.failed,
        failure=tally.failure,
        per_second=number / lasted,
        cpu_us=used / max(1, number) * 1e6,
        p50_us=percentile(micros, 50),
        p99_us=percentile(micros, 99),
        steady_cpu_us=steady,
    )


async def _at_rest(gateway: Deployment, seconds: float) -> dict[str, float]:
    """Measure a gateway that nobody asks: its memory, its share of a core, and what a scrape of its metrics takes."""
    resident = gateway.resident_bytes / 2**20
    used, began = gateway.cpu_seconds, perf_counter()
    await asyncio.sleep(seconds)
    share = (gateway.cpu_seconds - used) / (perf_counter() - began)
    used = gateway.cpu_seconds
    for _ in range(_SCRAPES):
        await gateway.page("/metrics")
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
        "answers": sum(each.answers for each in samples),
        "failed": sum(each.failed for each in samples),
        **{
            name: round(median(getattr(each, name) for each in samples), 2)
            for name in ("per_second", "cpu_us", "p50_us", "p99_us")
        },
        **({"steady_cpu_us": round(median(steady), 2)} if steady else {}),
        "rounds": [asdict(each) for each in samples],
    }


class _OneAtATime:
    """The gateway of one plan after the other: the one that runs, if it has that plan, else a new one in its place."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._stack = AsyncExitStack()
        self._running: Deployment | None = None

    async def of(self, plan: Plan) -> Deployment:
        """Give the gateway of a plan."""
        if self._running is None or self._running.plan != plan:
            await self.close()
            self._running = await self._stack.enter_async_context(deployed(plan, self._engine))
        return self._running

    async def close(self) -> None:
        """Stop what runs."""
        self._running = None
        await self._stack.aclose()
