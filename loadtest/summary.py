"""What a load test found, with the names that ``vllm bench serve`` gives to its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import floor
from statistics import fmean, median, pstdev
from typing import Any

from loadtest.record import Record

PERCENTILES = (50, 90, 95, 99)

SLOS = ("ttft", "tpot", "e2el")
"""What a service level objective may be set for."""


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

    Throughputs are per second of the whole test: from the first request's planned moment to the last answer's end.
    """
    good = [record for record in records if record.succeeded]
    ends = [record.last for record in records if record.last is not None]
    began = min((record.planned for record in records), default=0.0)
    duration = max(ends, default=began) - began
    arrivals = max((record.planned for record in records), default=began) - began
    per_second = 1 / duration if duration > 0 else 0.0
    found: dict[str, Any] = {
        "duration": duration,
        "num_prompts": len(records),
        "completed": len(good),
        "failed": sum(record.error is not None for record in records),
        "left": sum(record.left for record in records),
        "total_input_tokens": sum(record.tokens_in for record in good),
        "total_output_tokens": sum(record.tokens_out for record in good),
        "offered_rate": (len(records) - 1) / arrivals if arrivals > 0 else 0.0,
        "request_throughput": len(good) * per_second,
        "request_goodput": sum(_meets(record, slos) for record in good) * per_second if slos else None,
        "output_throughput": sum(record.tokens_out for record in good) * per_second,
        "total_token_throughput": sum(record.tokens_in + record.tokens_out for record in good) * per_second,
        "client_cpu_share": cpu_seconds * per_second,
        "errors": dict(Counter(record.error for record in records if record.error is not None).most_common(10)),
    }
    found |= _distribution("ttft", [record.ttft for record in good])
    found |= _distribution("tpot", [record.tpot for record in good])
    found |= _distribution("itl", [gap for record in good for gap in record.gaps])
    found |= _distribution("e2el", [record.e2e for record in good])
    found |= _distribution("lateness", [record.lateness for record in records])
    return found


def table(found: Mapping[str, Any]) -> str:
    """Write a summary for people."""
    lines = [
        f"{found['completed']} of {found['num_prompts']} requests answered in {found['duration']:.1f} s, "
        f"{found['failed']} failed, {found['left']} left",
        f"offered {found['offered_rate']:.1f}/s, achieved {found['request_throughput']:.1f}/s, "
        f"{found['output_throughput']:.0f} output tokens/s",
    ]
    if found["request_goodput"] is not None:
        lines.append(f"goodput {found['request_goodput']:.1f}/s")
    lines += ["", f"{'ms':<10}" + "".join(f"{name:>10}" for name in ("mean", *(f"p{p}" for p in PERCENTILES)))]
    for name in ("ttft", "tpot", "itl", "e2el", "lateness"):
        if f"mean_{name}_ms" in found:
            values = (found[f"mean_{name}_ms"], *(found[f"p{percent}_{name}_ms"] for percent in PERCENTILES))
            lines.append(f"{name:<10}" + "".join(f"{value:>10.2f}" for value in values))
    lines.append(f"\nthe client itself used {found['client_cpu_share']:.0%} of a core")
    lines += [f"{number} x {error}" for error, number in found["errors"].items()]
    return "\n".join(lines)


def _distribution(name: str, seconds: Sequence[float | None]) -> dict[str, float]:
    """Describe a distribution in milliseconds; nothing where there is none."""
    values = [value * 1000 for value in seconds if value is not None]
    if not values:
        return {}
    return {
        f"mean_{name}_ms": fmean(values),
        f"median_{name}_ms": median(values),
        f"std_{name}_ms": pstdev(values),
        **{f"p{percent}_{name}_ms": percentile(values, percent) for percent in PERCENTILES},
    }


def _meets(record: Record, slos: Mapping[str, float]) -> bool:
    """Whether a request met every objective; what a request does not have cannot miss it."""
    seen = {"ttft": record.ttft, "tpot": record.tpot, "e2el": record.e2e}
    return all((value := seen[name]) is None or value * 1000 <= limit for name, limit in slos.items())
