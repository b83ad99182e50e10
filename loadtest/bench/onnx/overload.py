"""How much useful work is left when more is offered than the engine can do."""

from __future__ import annotations

from itertools import product
from statistics import median
from typing import Any

from loadtest import arrivals
from loadtest.bench.cpu_affinity import AVAILABLE_CPUS, pinned_to
from loadtest.bench.launch import Server
from loadtest.bench.onnx import servers
from loadtest.bench.onnx.closed_loop import closed_loop, percentile_ms
from loadtest.bench.onnx.subject import Subject
from loadtest.load import Load
from loadtest.summary import summarise

_FACTORS = (0.8, 1.0, 1.5, 2.0)
"""How many times the sustainable rate is offered."""

_ROUNDS = 3


async def measure(subject: Subject) -> None:
    """Offer more than the engine can do, and count the responses that come in time.

    Client and gateway would take from the engine what they need for requests that it refuses. So it has the CPUs but
    the first for itself where there are several. Loads take turns: a machine is not equally fast all the time.
    """
    options = subject.options
    goodput: dict[float, list[float]] = {factor: [] for factor in _FACTORS}
    ours, engines = frozenset(AVAILABLE_CPUS[:1]), frozenset(AVAILABLE_CPUS[1:] or AVAILABLE_CPUS)
    async with servers.engine(subject, engines) as engine, servers.gateway(engine, ours) as gateway:
        with pinned_to(ours):
            found, _ = await closed_loop([gateway], subject.requests(), options.clients, options.seconds / 2)
            most = found["request_throughput"]
            print(f"sustainable: {most:.1f} requests/s", flush=True)
            for number, factor in product(range(_ROUNDS), _FACTORS):
                found = await _offered(gateway, subject, most * factor)
                goodput[factor].append(found["request_goodput"])
                print(
                    f"offered {factor:.1f} times as much: goodput {goodput[factor][-1]:.1f}/s of "
                    f"{found['offered_rate']:.1f}/s, p50 {percentile_ms(found, 50)}, p99 {percentile_ms(found, 99)}, "
                    f"{found['errors'] or 'no errors'} (round {number + 1})",
                    flush=True,
                )
    share = median(goodput[_FACTORS[-1]]) / max(map(median, goodput.values()))
    print(f"goodput at {_FACTORS[-1]} times the sustainable load is {share:.1%} of its peak", flush=True)


async def _offered(gateway: Server, subject: Subject, rate: float) -> dict[str, Any]:
    """Send so many requests a second, each of which gives the engine its deadline, and sum up."""
    options = subject.options
    load = Load(gateway.address, headers=(("x-request-timeout-ms", str(options.timeout_ms)),))
    await load.open_loop(subject.requests(), arrivals.poisson(rate, options.seconds, 3))
    load.close()
    return summarise(load.records, slos={"e2el": options.timeout_ms}, cpu_seconds=load.cpu_seconds)
