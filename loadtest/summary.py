"""What a load test found, with the names that ``vllm bench serve`` gives to its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import floor, sqrt
from statistics import fmean, median
from typing import Any

from loadtest.record import Record

PERCENTILES = (50, 90, 95, 99)

SLOS = ("ttft", "tpot", "e2el")
"""What a service level objective may be set for."""

OF_STREAMS = ("ttft", "tpot")
"""Those of them that only a stream can miss."""

BUSY = 0.8
"""The share of a core beyond which the client itself may be what limits a test."""

LATE = 0.1
"""The share of the median latency beyond which the client's own lateness distorts a test."""

LATE_MS = 2.0
"""Below this the lateness is that of timers, which event loops keep in whole milliseconds."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Give a percentile, linearly interpolated between the two nearest ranks (as NumPy's default)."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def summarise(
    records: Sequence[Record], *, slos: Mapping[str, float] | None = None, cpu_seconds: float = 0.0
) -> dict[str, Any]:
    """Sum up records. ``slos`` are milliseconds by name (``ttft``, ``tpot``, ``e2el``), for ``request_goodput``.

    Throughputs are per second of the whole test: from the first request's planned moment to the last response's end.
    """
    found = _described(records, slos) | {"client_cpu_share": 0.0}
    if found["duration"] > 0:
        found["client_cpu_share"] = cpu_seconds / found["duration"]
    kinds = sorted({record.kind for record in records})
    if len(kinds) > 1:
        found["kinds"] = {kind: _described([each for each in records if each.kind == kind], slos) for kind in kinds}
    return found | {"warnings": warnings(found)}


def warnings(found: Mapping[str, Any]) -> list[str]:
    """Say where the client was, or may have been, what limited the test."""
    said = []
    if found["client_cpu_share"] > BUSY:
        said.append(
            f"the client used {found['client_cpu_share']:.0%} of a core: it was the bottleneck, and the server may be "
            "faster than this; use fewer events per response, or several clients"
        )
    late = found.get("p99_lateness_ms", 0.0)
    if late > allowed_lateness(found):
        said.append(
            f"the client sent late (p99 {late:.1f} ms): the load was lumpier than planned, and the latencies may be "
            "worse than the server's own"
        )
    return said


def allowed_lateness(found: Mapping[str, Any]) -> float:
    """Say how late a client may send, in milliseconds, beside latencies like these."""
    latency: float = found.get("median_ttft_ms", found.get("median_e2el_ms", 0.0))
    return max(LATE_MS, LATE * latency)


def table(found: Mapping[str, Any]) -> str:
    """Write a summary for people."""
    lines = [
        f"{found['completed']} of {found['num_prompts']} requests answered in {found['duration']:.1f} s, "
        f"{found['failed']} failed, {found['left']} left",
        f"offered {found['offered_rate']:.1f}/s, achieved {found['request_throughput']:.1f}/s, "
        f"{found['output_throughput']:.0f} output tokens/s, at most {found['max_concurrent_requests']} in flight",
    ]
    if found["request_goodput"] is not None:
        lines.append(f"goodput {found['request_goodput']:.1f}/s: {found['slo_attainment']:.1%} met every objective")
    if found["mean_input_tokens"] is not None:
        asked, counted = found["mean_asked_tokens"], found["mean_input_tokens"]
        lines.append(f"prompts of {asked:.1f} tokens on average, which the server counted as {counted:.1f}")
    lines += ["", f"{'ms':<10}" + "".join(f"{name:>10}" for name in ("mean", *(f"p{p}" for p in PERCENTILES)))]
    lines += _times(found)
    for kind, part in found.get("kinds", {}).items():
        lines += ["", f"{kind}: {part['completed']} of {part['num_prompts']} answered", *_times(part)]
    lines.append(f"\nthe client itself used {found['client_cpu_share']:.0%} of a core")
    lines += [f"warning: {each}" for each in found["warnings"]]
    lines += [f"{number} x {error}" for error, number in found["errors"].items()]
    return "\n".join(lines)


def missed(record: Record, slos: Mapping[str, float]) -> list[str]:
    """Name the objectives that a request missed; what a request does not have cannot miss any."""
    seen = {"ttft": record.ttft, "tpot": record.tpot, "e2el": record.e2e}
    return [name for name, limit in slos.items() if (value := seen[name]) is not None and value * 1000 > limit]


def most_at_once(records: Sequence[Record]) -> int:
    """Count how many requests were under way at the same time, at most."""
    return max((number for _, number in in_flight(records)), default=0)


def in_flight(records: Sequence[Record]) -> list[tuple[float, int]]:
    """Give how many requests were under way from each moment on at which that changed."""
    changes = Counter[float]()
    for record in records:
        if record.sent is not None and record.ended is not None:
            changes[record.sent] += 1
            changes[record.ended] -= 1
    number = 0
    steps = []
    for moment in sorted(changes):
        number += changes[moment]
        steps.append((moment, number))
    return steps


def _described(records: Sequence[Record], slos: Mapping[str, float] | None) -> dict[str, Any]:
    good = [record for record in records if record.succeeded]
    ends = [record.last for record in records if record.last is not None]
    began = min((record.planned for record in records), default=0.0)
    duration = max(ends, default=began) - began
    arrivals = max((record.planned for record in records), default=began) - began
    per_second = 1 / duration if duration > 0 else 0.0
    stayed = sum(not record.left for record in records)
    met = sum(not missed(record, slos) for record in good) if slos else 0
    counted = [record for record in good if record.tokens_in]
    found: dict[str, Any] = {
        "duration": duration,
        "num_prompts": len(records),
        "completed": len(good),
        "failed": sum(record.error is not None for record in records),
        "left": sum(record.left for record in records),
        "total_input_tokens": sum(record.tokens_in for record in good),
        "total_output_tokens": sum(record.tokens_out for record in good),
        "mean_asked_tokens": fmean(record.asked_tokens for record in counted) if counted else None,
        "mean_input_tokens": fmean(record.tokens_in for record in counted) if counted else None,
        "offered_rate": (len(records) - 1) / arrivals if arrivals > 0 else 0.0,
        "request_throughput": len(good) * per_second,
        "request_goodput": met * per_second if slos else None,
        "slo_attainment": (met / stayed if stayed else 0.0) if slos else None,
        "output_throughput": sum(record.tokens_out for record in good) * per_second,
        "total_token_throughput": sum(record.tokens_in + record.tokens_out for record in good) * per_second,
        "max_concurrent_requests": most_at_once(records),
        "errors": _errors(records),
    }
    found |= _distribution("ttft", [record.ttft for record in good])
    found |= _distribution("tpot", [record.tpot for record in good])
    found |= _distribution("itl", [gap for record in good for gap in record.gaps])
    found |= _distribution("e2el", [record.e2e for record in good])
    return found | _distribution("lateness", [record.lateness for record in records])


def _errors(records: Sequence[Record]) -> dict[str, int]:
    """Count failures, the most frequent first; with each stands what the server said about one of them."""
    failures = [record for record in records if record.error is not None]
    said = {record.error: record.detail for record in failures}
    counted = Counter(record.error for record in failures).most_common(10)
    return {f"{error}: {said[error]}" if said[error] else str(error): number for error, number in counted}


def _times(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in ("ttft", "tpot", "itl", "e2el", "lateness"):
        if f"mean_{name}_ms" in found:
            values = (found[f"mean_{name}_ms"], *(found[f"p{percent}_{name}_ms"] for percent in PERCENTILES))
            lines.append(f"{name:<10}" + "".join(f"{value:>10.2f}" for value in values))
    return lines


def _distribution(name: str, seconds: Sequence[float | None]) -> dict[str, float]:
    """Describe a distribution in milliseconds; nothing where there is none."""
    values = sorted(value * 1000 for value in seconds if value is not None)
    if not values:
        return {}
    mean = fmean(values)
    return {
        f"mean_{name}_ms": mean,
        f"median_{name}_ms": median(values),
        f"std_{name}_ms": sqrt(fmean((value - mean) ** 2 for value in values)),
        **{f"p{percent}_{name}_ms": percentile(values, percent) for percent in PERCENTILES},
    }
