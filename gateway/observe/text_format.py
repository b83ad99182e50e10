"""Writes metrics as Prometheus reads them: its text format 0.0.4, and OpenMetrics 1.0.

It writes what ``prometheus_client`` would, to the byte, from numbers as they are counted. The library makes an object
of each sample first, which for a thousand models is a second of processor time at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from itertools import accumulate, islice
from operator import itemgetter
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from gateway.observe.counters import Exemplar, Histogram

_EXPONENT_FROM = 1_000_000
"""Go writes numbers with an exponent from here on; below, it writes what Python does."""

_SERIES_AT_ONCE, _HISTOGRAMS_AT_ONCE = 250, 50
"""How many are written as one piece, which is a tenth of a megabyte then."""

_END = "\1"
"""Stands for the labels behind that of a bucket."""

Value = float | Histogram
_SMALL: Mapping[Value, str] = {float(each): f"{each}.0" for each in range(1000)}
"""Numbers as they are written; zero has no sign."""

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


def pieces_of(family: Family, *, openmetrics: bool) -> Iterator[bytes]:
    """Write one family, some series at a time: each piece is written within a fraction of a millisecond."""
    suffix = "_total" if family.kind is Kind.COUNTER else ""
    title = family.name if openmetrics else family.name + suffix
    documentation = _escaped(family.documentation) if openmetrics else _escaped_but_quotes(family.documentation)
    yield f"# HELP {title} {documentation}\n# TYPE {title} {family.kind}\n".encode()
    samples, labels = iter(family.samples), _Labels(family.labels)
    if family.kind is Kind.HISTOGRAM:
        histograms = _Histograms(family.name, labels, exemplars=openmetrics)
        while some := list(islice(samples, _HISTOGRAMS_AT_ONCE)):
            yield "".join([histograms.text(values, value) for values, value in some]).encode()
        return
    line = f"{family.name}{suffix}{labels.template} %s\n"
    written, pick, small = labels.written, labels.pick, _SMALL.get
    while some := list(islice(samples, _SERIES_AT_ONCE)):
        # perf: most numbers are small, and those are written once for all.
        yield "".join(
            [line % (*map(written, pick(values)), small(value) or number(value)) for values, value in some]
            if pick
            else [line % (*map(written, values), small(value) or number(value)) for values, value in some]
        ).encode()


def number(value: Value) -> str:
    """Write a number as Go does, in which Prometheus is written."""
    assert not isinstance(value, Histogram)
    if -_EXPONENT_FROM < value < _EXPONENT_FROM:
        return repr(float(value))
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


class _Escapes(dict[str, str]):
    """Values of labels as they are written. A family has few of them, and each many times."""

    def __missing__(self, value: str) -> str:
        escaped = self[value] = _escaped(value)
        return escaped


class _Labels:
    """The labels of a family, which are written in the order of their names."""

    def __init__(self, names: Sequence[str]) -> None:
        order = sorted(range(len(names)), key=names.__getitem__)
        self.names = [names[at] for at in order]
        pairs = ",".join([f'{name}="%s"' for name in self.names])
        self.template = f"{{{pairs}}}" if names else ""
        self.pick = None if order == list(range(len(names))) else itemgetter(*order)
        """Puts values into that order, where they are not in it."""
        self.written = _Escapes().__getitem__

    def pairs(self, values: Sequence[str]) -> list[str]:
        """Write each label with its value."""
        ordered = values if self.pick is None else self.pick(values)
        return [f'{name}="{self.written(value)}"' for name, value in zip(self.names, ordered, strict=True)]


class _Histograms:
    """Writes the histograms of a family: the buckets, each of which counts those below it too, number and sum."""

    def __init__(self, name: str, labels: _Labels, *, exemplars: bool) -> None:
        self._name = name
        self._labels = labels
        self._exemplars = exemplars
        self._before_le = sum(label < "le" for label in labels.names)
        self._templates: dict[tuple[str, tuple[float, ...]], str] = {}

    def text(self, values: Sequence[str], histogram: Value) -> str:
        """Write one histogram."""
        assert isinstance(histogram, Histogram)
        pairs = self._labels.pairs(values)
        start = "".join([f"{pair}," for pair in pairs[: self._before_le]])
        end = ",".join(pairs[self._before_le :])
        totals = tuple(accumulate(list(histogram.counts)))
        if totals[-1] >= _EXPONENT_FROM or (self._exemplars and histogram.exemplars) or _END in start:
            return self._in_full(start, end, totals, histogram)
        # perf: to fill in a text of all lines takes half of the time of putting them together.
        lines = self._template(start, histogram.bounds) % (*totals, totals[-1], number(histogram.sum))
        return end.join(lines.split(_END))

    def _template(self, start: str, bounds: tuple[float, ...]) -> str:
        """Give all lines without their numbers, and with ``_END`` for the labels behind ``le``."""
        template = self._templates.get((start, bounds))
        if template is None:
            end = _END if len(self._labels.names) > self._before_le else ""
            numbers = ["%d.0"] * (len(bounds) + 2)
            template = self._lines(start.replace("%", "%%"), end, bounds, [*numbers, "%s"])
            self._templates[start, bounds] = template
        return template

    def _in_full(self, start: str, end: str, totals: Sequence[int], histogram: Histogram) -> str:
        """Write a histogram some of whose buckets have an exemplar, or count so many that Go writes an exponent."""
        exemplars = dict(histogram.exemplars or {}) if self._exemplars else {}
        numbers = [number(total) + _exemplar(exemplars.get(bucket)) for bucket, total in enumerate(totals)]
        return self._lines(start, end, histogram.bounds, [*numbers, number(totals[-1]), number(histogram.sum)])

    def _lines(self, start: str, end: str, bounds: tuple[float, ...], numbers: Sequence[str]) -> str:
        """Write the lines of all buckets, of how many were observed and of their sum; ``numbers`` are of all lines."""
        name, behind_le = self._name, f",{end}" if end else ""
        labels = f"{start}{end}" if end else start[:-1]
        labels = f"{{{labels}}}" if labels else ""
        heads = [f'{name}_bucket{{{start}le="{bound}"{behind_le}}}' for bound in _names_of(bounds)]
        heads += [f"{name}_count{labels}", f"{name}_sum{labels}"]
        return "".join([f"{head} {each}\n" for head, each in zip(heads, numbers, strict=True)])


def _exemplar(exemplar: Exemplar | None) -> str:
    """Write what follows the number of a bucket; to the millisecond, as Prometheus keeps it."""
    if exemplar is None:
        return ""
    return f' # {{trace_id="{exemplar.trace_id}"}} {number(exemplar.value)} {exemplar.at:.3f}'


@cache
def _names_of(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """Write the bounds of buckets; there are few sets of them."""
    return (*map(str, bounds), "+Inf")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_but_quotes(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
