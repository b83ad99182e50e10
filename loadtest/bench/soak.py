"""Whether it stays as fast and as small: streams for minutes on end, with scrapes beside them, and a spike."""

from __future__ import annotations

import asyncio
import gc
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import msgspec

from loadtest import arrivals
from loadtest.bench.deployment import Deployment, DeploymentSpec, deployed, instant_engine
from loadtest.bench.stream_clients import StreamClients
from loadtest.http_client import HttpClient
from loadtest.load import Load
from loadtest.record import Record
from loadtest.summary import percentile
from loadtest.workload import Request

_LAG = re.compile(r'^headgate_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)

_WINDOW = 0.5
"""Seconds over which a p99 is taken to see when latency is back to normal."""

_NORMAL = 1.5
"""How many times the p99 before the spike is normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakSettings:
    """How much and how long; all times are in seconds, all rates per second."""

    streams: int = 1000
    pace: float = 0.1
    seconds: float = 600.0
    segment: float = 30.0
    """So long with a scrape each second, then so long without, and so on."""
    direct_seconds: float = 20.0
    """So long without a gateway, to know what is the engine's and the client's own."""
    engine_delay: float = 0.05
    slots: int = 64
    rate: float = 300.0
    spike_rate: float = 3000.0
    spike_seconds: float = 30.0
    around_seconds: float = 15.0
    """Before the spike and after it."""


async def measure(settings: SoakSettings, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure streams, direct and through a gateway, then a spike."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        found = await _streams(settings, log)
        spike = await _spike(settings, log)
    finally:
        gc.enable()
        gc.unfreeze()
    return {"settings": asdict(settings), "failed": found["failed"] + spike["failed"], "streams": found, "spike": spike}


async def _streams(settings: SoakSettings, log: Callable[[str], None]) -> dict[str, Any]:
    spec = DeploymentSpec()
    async with instant_engine(pace=settings.pace) as engine:
        direct = await _direct(settings, engine, spec)
        log(f"soak: p99 without a gateway {direct['p99_us']:.0f} us")
        async with deployed(spec, engine) as gateway:
            began = _lag_counts((await gateway.control_page("/metrics")).text)
            stream_clients = StreamClients(
                gateway.address, spec, events=round(settings.seconds / settings.pace), pace=settings.pace
            )
            await stream_clients.open(settings.streams)
            watch = _Watch(gateway, stream_clients, settings, log)
            async with HttpClient(gateway.control) as prometheus:
                await watch.run(prometheus)
            await stream_clients.ended()
            lag = _lag_counts((await gateway.control_page("/metrics")).text)
    seen = stream_clients.tally
    without, scraped = _percentiles(watch.without), _percentiles(watch.scraped)
    return {
        "failed": seen.failed,
        "failure": seen.failure,
        "complete": seen.complete,
        "events": seen.events,
        "lost": seen.lost,
        "repeated": seen.repeated,
        "long_gaps": seen.long_gaps,
        "longest_gap_ms": round(seen.longest_gap * 1000, 1),
        "direct": direct,
        "through": {"without_scrapes": without, "with_scrapes": scraped},
        "added_p99_us": {
            "without_scrapes": round(without["p99_us"] - direct["p99_us"], 1),
            "with_scrapes": round(scraped["p99_us"] - direct["p99_us"], 1),
        },
        "resident_mib": watch.resident,
        "resident_change": round(watch.change, 4),
        "lag": _lag([after - before for before, after in zip(began.values(), lag.values(), strict=True)], list(lag)),
    }


async def _direct(settings: SoakSettings, engine: str, spec: DeploymentSpec) -> dict[str, float]:
    """Read the same streams from the engine itself."""
    stream_clients = StreamClients(
        engine, spec, events=round(settings.direct_seconds / settings.pace), pace=settings.pace
    )
    await stream_clients.open(settings.streams)
    stream_clients.tally.delays = array("d")
    await stream_clients.ended()
    return _percentiles(stream_clients.tally.delays)


class _Watch:
    """Looks at the gateway each second while the streams run, and scrapes it in every other segment."""

    def __init__(
        self, gateway: Deployment, clients: StreamClients, settings: SoakSettings, log: Callable[[str], None]
    ) -> None:
        self.without = array("d")
        self.scraped = array("d")
        self.resident: list[float] = []
        self.change = 0.0
        self._gateway = gateway
        self._clients = clients
        self._settings = settings
        self._log = log

    async def run(self, prometheus: HttpClient) -> None:
        """Watch until the streams are about to end; scrapes go over one connection, which is kept."""
        settings = self._settings
        # The streams that began first end first.
        seconds = settings.seconds - max(settings.pace, 0.002 * settings.streams) - 2 * settings.pace
        began = perf_counter()
        settled: float | None = None
        sampled: list[float] = []
        tick = min(1.0, settings.segment)
        while (now := perf_counter() - began) < seconds:
            scraping = int(now / settings.segment) % 2 == 1
            self._clients.tally.delays = self.scraped if scraping else self.without
            if scraping:
                await prometheus.get("/metrics")
            mib = self._gateway.resident_bytes / 2**20
            if now >= min(60.0, seconds / 4):
                settled = mib if settled is None else settled
                sampled.append(mib)
            if len(self.resident) <= now / 10:
                self.resident.append(round(mib, 1))
                self._log(f"soak: {now:.0f} s, {self._clients!r}, {mib:.1f} MiB")
            await asyncio.sleep(max(0.0, began + (int(now / tick) + 1) * tick - perf_counter()))
        self._clients.tally.delays = array("d")
        if settled is not None:
            self.change = max(abs(each / settled - 1) for each in sampled)


async def _spike(settings: SoakSettings, log: Callable[[str], None]) -> dict[str, Any]:
    """Send at an easy rate, at ten times that rate, and at the first again; refusals at ten times are expected."""
    spec = DeploymentSpec(max_in_flight=settings.slots)
    calm, rush = settings.around_seconds, settings.spike_seconds
    moments = [
        *arrivals.poisson(settings.rate, calm, 0),
        *(calm + each for each in arrivals.poisson(settings.spike_rate, rush, 1)),
        *(calm + rush + each for each in arrivals.poisson(settings.rate, calm, 2)),
    ]
    fields = {"model": spec.model(0), "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 16}
    async with instant_engine(delay=settings.engine_delay) as engine, deployed(spec, engine) as gateway:
        load = Load(gateway.address, key=spec.key(0))
        log(f"soak: a spike of {settings.spike_rate:.0f} requests/s for {rush:.0f} s")
        await load.open_loop([Request("/v1/chat/completions", msgspec.json.encode(fields))], moments)
        load.close()
    return spike_summary(list(zip(moments, load.records, strict=True)), calm=calm, rush=rush)


def spike_summary(records: Sequence[tuple[float, Record]], *, calm: float, rush: float) -> dict[str, Any]:
    """Say what happened to requests by their moments: a calm, a rush, a calm. Refusals in the rush are no failures."""
    end = calm + rush
    refused = [moment for moment, record in records if record.status == 503]
    failures = [record.error for moment, record in records if record.error and (record.status != 503 or moment < calm)]
    before = _p99_ms(records, 0.0, calm)
    recovered = 0.0
    windows = []
    for number in range(int((calm + 1e-9) / _WINDOW)):
        start = end + number * _WINDOW
        p99 = _p99_ms(records, start, start + _WINDOW)
        windows.append(round(p99, 1))
        if p99 > _NORMAL * before or any(start <= moment < start + _WINDOW for moment in refused):
            recovered = (number + 1) * _WINDOW
    return {
        "requests": len(records),
        "refused": len(refused),
        "failed": len(failures),
        "failure": failures[0] if failures else "",
        "before_p99_ms": round(before, 2),
        "rush_p99_ms": round(_p99_ms(records, calm, end), 2),
        "after_p99_ms": windows,
        "window_seconds": _WINDOW,
        "recovered_after_seconds": recovered,
    }


def _p99_ms(records: Sequence[tuple[float, Record]], start: float, end: float) -> float:
    """Return the p99 end-to-end time of the requests that were sent in a span of time; 0 where there are none."""
    times = [record.e2e for moment, record in records if start <= moment < end and record.succeeded]
    return percentile([each * 1000 for each in times if each is not None], 99) if times else 0.0


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    values = list(seconds) or [0.0]
    return {f"p{percent}_us": round(percentile(values, percent) * 1e6, 1) for percent in (50, 99)}


def _lag_counts(metrics: str) -> dict[float, float]:
    """Read the histogram of the event loop's lag: how many were at most so many seconds."""
    return {float(bound): float(count) for bound, count in _LAG.findall(metrics)}


def _lag(counts: Sequence[float], bounds: Sequence[float]) -> dict[str, float]:
    """Return the bound below which 99.9 % of the ticks were late, and the share of those within 20 ms."""
    total = counts[-1] if counts else 0.0
    if not total:
        return {"ticks": 0, "p999_below_ms": 0.0, "within_20_ms": 1.0}
    p999 = next(bound for bound, count in zip(bounds, counts, strict=True) if count >= 0.999 * total)
    within = max(count for bound, count in zip(bounds, counts, strict=True) if bound <= 0.02)
    return {"ticks": int(total), "p999_below_ms": p999 * 1000, "within_20_ms": round(within / total, 6)}
