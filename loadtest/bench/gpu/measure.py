"""Goes over all numbers of streams, straight to the engine and through the gateway in turns, several times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from typing import Any

from loadtest.bench.gpu.engine import Compared, described
from loadtest.bench.gpu.knee import find_knee
from loadtest.bench.gpu.shapes import Shape
from loadtest.bench.gpu.turn import Lengths, idle_cores, requests, seconds_for, turn, whole_response
from loadtest.summary import BUSY
from loadtest.workload import Request

MODES = ("streamed", "unary")

_KNEE_FROM = 8
"""The number of streams from which the knee is looked for."""

_LENGTHS = Lengths(prompt=256, response=128)

_RESERVE = 2
"""How many times as many requests are made as one turn should need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """What is measured. ``seconds`` is the least time that counts of each turn."""

    shape: Shape
    streams: Sequence[int] = (1, 16, 64, 256)
    knee: bool = True
    """Whether to look for the knee and to measure there, too."""
    lengths: Lengths = _LENGTHS
    seconds: float = 1.0
    rounds: int = 5
    idle_seconds: float = 5.0
    """For how long the gateway is watched without requests."""


@dataclass(frozen=True, slots=True)
class Point:
    """So many streams of one kind: what they ask, and for how many seconds."""

    mode: str
    streams: int
    asked: Sequence[Request]
    seconds: float


async def compare(target: Compared, settings: GpuSettings, log: Callable[[str], None]) -> dict[str, Any]:
    """Compare the two ways to an engine. Raises ``NothingMeasured``."""
    engine, idle = await described(target), await idle_cores(target, settings.idle_seconds)
    knee = await _knee(target, settings, log) if settings.knee else None
    streams = sorted({*settings.streams, *([] if knee is None else [knee["streams"]])})
    points = [await _prepared(target, settings, each, mode) for mode in MODES for each in streams]
    rounds: list[list[dict[str, Any]]] = [[] for _ in points]
    for number in range(settings.rounds):
        for point, measured in zip(points, rounds, strict=True):
            measured.append(await _round(target, point, idle, direct_first=number % 2 == 0))
            log(f"gpu: round {number + 1}, {_said(concluded(point.mode, point.streams, measured[-1:]))}")
    return {
        "shape": settings.shape.name,
        "engine": engine,
        "args": dict(settings.shape.args),
        **asdict(settings.lengths),
        "rounds": settings.rounds,
        "idle_cores": idle,
        "knee": knee,
        "points": [concluded(each.mode, each.streams, those) for each, those in zip(points, rounds, strict=True)],
    }


def concluded(mode: str, streams: int, rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Return the medians of all rounds for each side, and of what the gateway changes within each round.

    Rounds are compared one by one: a machine that has become slower meanwhile is so for both sides of a round.
    """
    found: dict[str, Any] = {"mode": mode, "streams": streams}
    for side in ("direct", "gateway"):
        names = [name for name in rounds[0][side] if name != "failed"]
        found[side] = {name: median(each[side][name] for each in rounds) for name in names}
    found["failed"] = sum(each[side]["failed"] for each in rounds for side in ("direct", "gateway"))
    found["share"] = median(
        each["gateway"]["tokens_per_second"] / each["direct"]["tokens_per_second"] for each in rounds
    )
    for name in ("ttft", "e2e"):
        figure = f"{name}_p50_ms"
        if figure in found["gateway"]:
            found[f"{name}_added_ms"] = median(each["gateway"][figure] - each["direct"][figure] for each in rounds)
    # Where a busy client reads all tokens of a response at once, there is no time between them.
    if all(each["direct"].get("tpot_p50_ms") and "tpot_p50_ms" in each["gateway"] for each in rounds):
        found["tpot_times"] = median(each["gateway"]["tpot_p50_ms"] / each["direct"]["tpot_p50_ms"] for each in rounds)
    return {**found, "rounds": list(rounds)}


async def _knee(target: Compared, settings: GpuSettings, log: Callable[[str], None]) -> dict[str, Any]:
    """Look for the knee of the engine itself, with streams."""

    async def tokens_per_second(streams: int) -> float:
        point = await _prepared(target, settings, streams, "streamed")
        found = await turn(target, point.asked, streams, point.seconds, direct=True)
        log(f"gpu: {streams} streams, {found['tokens_per_second']:,.0f} tokens/s")
        return float(found["tokens_per_second"])

    return asdict(await find_knee(tokens_per_second, _KNEE_FROM, settings.shape.max_num_seqs))


async def _prepared(target: Compared, settings: GpuSettings, streams: int, mode: str) -> Point:
    """Warm both ways up for so many streams, and so learn how long a turn has to be."""
    stream = mode == "streamed"
    warm_up = requests(target.model, 1, streams, settings.lengths, stream=stream)
    responses = [await whole_response(target, warm_up, direct=direct) for direct in (True, False)]
    seconds = seconds_for(streams, max(responses), settings.seconds)
    number = streams * (1 + ceil(_RESERVE * seconds / min(responses)))
    return Point(mode, streams, requests(target.model, streams, number, settings.lengths, stream=stream), seconds)


async def _round(target: Compared, point: Point, idle: float, *, direct_first: bool) -> dict[str, Any]:
    sides = {}
    for direct in (direct_first, not direct_first):
        side = "direct" if direct else "gateway"
        sides[side] = await turn(target, point.asked, point.streams, point.seconds, direct=direct, idle_cores=idle)
    return sides


def _said(point: Mapping[str, Any]) -> str:
    """Say what one round found, and whether the client may have been what limited it."""
    direct, gateway = point["direct"], point["gateway"]
    said = [
        f"{point['streams']} {point['mode']}: {direct['tokens_per_second']:,.0f} tokens/s directly",
        f"{gateway['tokens_per_second']:,.0f} through the gateway ({point['share']:.1%})",
        f"{gateway['cores_per_10k']:.3f} of its cores per 10,000",
    ]
    if "ttft_added_ms" in point:
        said.append(f"TTFT p50 {direct['ttft_p50_ms']:.1f} {point['ttft_added_ms']:+.2f} ms")
    if "tpot_times" in point:
        said.append(f"TPOT p50 {direct['tpot_p50_ms']:.2f} ms times {point['tpot_times']:.3f}")
    busiest = max(direct["client_cores"], gateway["client_cores"])
    if busiest > BUSY:
        said.append(f"the client itself used {busiest:.0%} of a core")
    return ", ".join(said)
