"""Writes metrics as Prometheus reads them: its text format 0.0.4, and OpenMetrics 1.0.

It writes what ``prometheus_client`` would, to the byte, from numbers as they are counted. The library makes an object
of each sample first, which for a thousand models is a second of processor time at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from itertools import accumulate, chain, repeat
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from gateway.observe.counters import Exemplar, Histogram

_EXPONENT_FROM = 1_000_000
"""Go writes numbers with an exponent from here on; below, it writes what Python does."""

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
    order = sorted((label, at) for at, label in enumerate(family.labels))
    before_le = sum(label < "le" for label in family.labels)
    name = family.name + suffix
    for values, value in family.samples:
        pairs = [f'{label}="{_escaped(values[at])}"' for label, at in order]
        if isinstance(value, Histogram):
            lines.append(_histogram(name, pairs, before_le, value, exemplars=openmetrics))
        elif pairs:
            lines.append(f"{name}{{{','.join(pairs)}}} {number(value)}\n")
        else:
            lines.append(f"{name} {number(value)}\n")
    return "".join(lines)


def number(value: float) -> str:
    """Write a number as Go does, in which Prometheus is written."""
    if -_EXPONENT_FROM < value < _EXPONENT_FROM:
        return repr(float(value))
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _histogram(name: str, pairs: Sequence[str], before_le: int, histogram: Histogram, *, exemplars: bool) -> str:
    """Write the buckets, each of which counts those below it too, their sum, and the number of observations.

    Labels are in the order of their names; the first ``before_le`` of them stand before that of the bucket.
    """
    start = f'{name}_bucket{{{"".join([f"{pair}," for pair in pairs[:before_le]])}le="'
    end = ",".join(['"', *pairs[before_le:]]) + "} "
    labels = f"{{{','.join(pairs)}}}" if pairs else ""
    totals = list(accumulate(list(histogram.counts)))
    if totals[-1] < _EXPONENT_FROM:
        numbers, tail = map(str, totals), ".0\n"
    else:
        numbers, tail = map(number, totals), "\n"
    ends: Iterable[str] = repeat(tail)
    if exemplars and histogram.exemplars is not None:
        ends = _with_exemplars(tail, len(totals), dict(histogram.exemplars))
    # perf: a join of what repeats takes a third of the time of a line each.
    bounds = _names_of(histogram.bounds)
    buckets = "".join(chain.from_iterable(zip(repeat(start), bounds, repeat(end), numbers, ends, strict=False)))
    return f"{buckets}{name}_count{labels} {number(totals[-1])}\n{name}_sum{labels} {number(histogram.sum)}\n"


def _with_exemplars(tail: str, buckets: int, exemplars: Mapping[int, Exemplar]) -> Sequence[str]:
    """Write the ends of the lines of buckets, some of which have an exemplar."""
    ends = [tail] * buckets
    for bucket, exemplar in exemplars.items():
        # To the millisecond, as Prometheus keeps it.
        said = f'# {{trace_id="{exemplar.trace_id}"}} {number(exemplar.value)} {exemplar.at:.3f}'
        ends[bucket] = f"{tail[:-1]} {said}\n"
    return ends


@cache
def _names_of(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """Write the bounds of buckets; there are few sets of them."""
    return (*map(str, bounds), "+Inf")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_but_quotes(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
