"""What Headgate costs beside other gateways: the same engine, the same clients, and each gateway alone on its core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from loadtest.bench.deployment import DeploymentSpec, instant_engine
from loadtest.bench.environments import Missing
from loadtest.bench.launch import DidNotStart
from loadtest.bench.peer_gateways import HEADGATE, Gateway, Peer
from loadtest.bench.scaling import GatewayLoad, sample
from loadtest.http_client import HttpClient

_SPEC = DeploymentSpec()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load. ``pace`` is in seconds between a stream's events; without one they come all at once."""

    name: str
    load: GatewayLoad
    per: str = "request"
    pace: float = 0.0


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("alone", GatewayLoad(spec=_SPEC, connections=1)),
    Scenario("busy", GatewayLoad(spec=_SPEC, connections=32)),
    Scenario("at_once", GatewayLoad(spec=_SPEC, connections=32, events=66), per="event"),
    Scenario("paced", GatewayLoad(spec=_SPEC, connections=200, busy=200, events=67), per="event", pace=0.01),
)

_FIGURES = {
    "requests_per_second": ("busy", "per_second"),
    "request_cpu_us": ("busy", "cpu_us"),
    "alone_p50_us": ("alone", "p50_us"),
    "busy_p99_us": ("busy", "p99_us"),
    "at_once_event_cpu_us": ("at_once", "cpu_us"),
    "paced_event_cpu_us": ("paced", "cpu_us"),
}
"""What the medians are of: a scenario, and a field of its sample."""


async def measure(peers: Sequence[Peer], *, seconds: float, rounds: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure Headgate and those of its peers that can be had, in rounds that go over all of them.

    ``failed`` counts the requests that failed at Headgate; what failed at a peer stands with that peer.
    """
    gateways, left_out = await _found(peers, log)
    measured: dict[str, list[dict[str, Any]]] = {gateway.name: [] for gateway in gateways}
    async with instant_engine(at_once=True, model=_SPEC.model(0)) as engine:
        for number in range(rounds):
            for gateway in gateways:
                if gateway.name in left_out:
                    continue
                try:
                    found = await _round(gateway, engine, seconds)
                except (DidNotStart, OSError) as error:
                    if gateway is HEADGATE:
                        raise
                    left_out[gateway.name] = str(error)
                    log(f"peers: without {gateway.name}: {error}")
                    continue
                measured[gateway.name].append(found)
                cost = found["busy"]["cpu_us"], found["paced"]["cpu_us"]
                log(
                    f"peers {gateway.name}: {cost[0]:.1f} us per request, {cost[1]:.1f} us per event, "
                    f"{found['resident_mib']:.0f} MiB (round {number + 1})"
                )
    results = [_result(each, measured[each.name]) for each in gateways if each.name not in left_out]
    return {
        "seconds": seconds,
        "rounds": rounds,
        "failed": results[-1]["failed"],
        "left_out": left_out,
        "gateways": results,
    }


async def _found(peers: Sequence[Peer], log: Callable[[str], None]) -> tuple[list[Gateway], dict[str, str]]:
    """Return the gateways that can be had, Headgate as the last, and why the others cannot."""
    gateways: list[Gateway] = []
    left_out: dict[str, str] = {}
    for peer in peers:
        try:
            gateways.append(await peer.find(log))
        except Missing as error:
            left_out[peer.name] = str(error)
            log(f"peers: without {peer.name}: {error}")
    return [*gateways, HEADGATE], left_out


async def _round(gateway: Gateway, engine: str, seconds: float) -> dict[str, Any]:
    """Start a gateway, put every scenario on it, and look at its memory at the end."""
    found: dict[str, Any] = {}
    async with gateway.run(_SPEC, engine) as running, HttpClient(engine) as client:
        for scenario in SCENARIOS:
            await client.put("/sim/pace", str(scenario.pace).encode())
            found[scenario.name] = asdict(await sample(running, scenario.load, scenario.per, seconds))
        found["resident_mib"] = round(running.resident_bytes / 2**20, 1)
    return found


def _result(gateway: Gateway, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Take the median of each figure over the rounds, and keep what each round gave."""
    medians = {
        figure: round(median(each[scenario][field] for each in rounds), 2)
        for figure, (scenario, field) in _FIGURES.items()
    }
    medians["resident_mib"] = round(median(each["resident_mib"] for each in rounds), 1)
    failed = sum(each[scenario.name]["failed"] for each in rounds for scenario in SCENARIOS)
    return {"name": gateway.name, "title": gateway.title, "failed": failed, "medians": medians, "rounds": rounds}
