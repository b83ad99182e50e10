"""Writes metrics as Prometheus reads them: its text format 0.0.4, and OpenMetrics 1.0.

It writes what ``prometheus_client`` would, to the byte, from numbers as they are counted. The library makes an object
of each sample first, which for a thousand models is a second of processor time at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from itertools import accumulate, chain, repeat
from operator import itemgetter
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from gateway.observe.counters import Histogram

_WHOLE_NUMBERS = 1_000_000
"""Whole numbers below this are written without an exponent."""

Value = float | Histogram
Samples = Iterable[tuple[Sequence[str], Value]]
"""The labels' values of each series, and what it has."""


class Kind(StrEnum):
    """What the samples of a family are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    """One family of metrics; ``name`` is without the ``_total`` of a counter."""

    kind: Kind
    name: str
    documentation: str
    labels: Sequence[str]
    samples: Samples


def text_of(family: Family, *, openmetrics: bool) -> str:
    """Write one family."""
    suffix = "_total" if family.kind is Kind.COUNTER else ""
    title = family.name if openmetrics else family.name + suffix
    documentation = _escaped(family.documentation) if openmetrics else _escaped_but_quotes(family.documentation)
    lines = [f"# HELP {title} {documentation}\n# TYPE {title} {family.kind}\n"]
    order = sorted(enumerate(family.labels), key=itemgetter(1))
    for values, value in family.samples:
        pairs = [f'{name}="{_escaped(values[at])}"' for at, name in order]
        if isinstance(value, Histogram):
            lines.append(_histogram(family, pairs, value))
        else:
            lines.append(f"{family.name}{suffix}{_braced(pairs)} {number(value)}\n")
    return "".join(lines)


def number(value: float) -> str:
    """Write a number as Go does, in which Prometheus is written."""
    if 0 < value < _WHOLE_NUMBERS and value == (whole := int(value)):
        return f"{whole}.0"
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _histogram(family: Family, pairs: Sequence[str], histogram: Histogram) -> str:
    """Write the buckets, each of which counts those below it too, their sum, and the number of observations."""
    behind = [pair for name, pair in zip(sorted(family.labels), pairs, strict=True) if name > "le"]
    before = pairs[: len(pairs) - len(behind)]
    start = "".join([f"{family.name}_bucket{{", *(f"{pair}," for pair in before), 'le="'])
    end = "".join(['"', *(f",{pair}" for pair in behind), "} "])
    totals = list(accumulate(list(histogram.counts)))
    if totals[-1] < _WHOLE_NUMBERS:
        numbers, tail = map(str, totals), ".0\n"
    else:
        numbers, tail = map(number, totals), "\n"
    # perf: a join of what repeats takes a third of the time of a line each.
    bounds = _names_of(histogram.bounds)
    parts = chain.from_iterable(zip(repeat(start), bounds, repeat(end), numbers, repeat(tail), strict=False))
    buckets, labels = "".join(parts), _braced(pairs)
    return (
        f"{buckets}{family.name}_count{labels} {number(totals[-1])}\n"
        f"{family.name}_sum{labels} {number(histogram.sum)}\n"
    )


@cache
def _names_of(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """Write the bounds of buckets; there are few sets of them."""
    return (*map(str, bounds), "+Inf")


def _braced(pairs: Sequence[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_but_quotes(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
