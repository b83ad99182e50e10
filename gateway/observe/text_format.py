"""Writes metrics as Prometheus reads them: its text format 0.0.4, and OpenMetrics 1.0.

It writes what ``prometheus_client`` would, to the byte, from numbers as they are counted. The library makes an object
of each sample first, which for a thousand models is a second of processor time at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache, lru_cache
from itertools import accumulate, islice
from operator import itemgetter
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from gateway.observe.counters import Exemplar, Histogram

_EXPONENT_FROM = 1_000_000
"""Go writes numbers with an exponent from here on; below, it writes what Python does."""

_SERIES_AT_ONCE, _HISTOGRAMS_AT_ONCE = 100, 8
"""How many are written as one piece, within a fifth of a millisecond."""

_KNOWN_VALUES = 20_000
"""How many values of labels are kept as they are written: each family has those of the others."""

_END = b"\1"
"""Stands for the labels behind that of a bucket."""

Value = float | Histogram
_SMALL: Mapping[Value, bytes] = {float(each): b"%d.0" % each for each in range(1000)}
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
    suffix = b"_total" if family.kind is Kind.COUNTER else b""
    name = family.name.encode()
    title = name if openmetrics else name + suffix
    documentation = _escaped(family.documentation) if openmetrics else _escaped_but_quotes(family.documentation)
    yield b"# HELP %b %b\n# TYPE %b %b\n" % (title, documentation, title, family.kind.encode())
    samples, labels = iter(family.samples), _Labels(family.labels)
    if family.kind is Kind.HISTOGRAM:
        histograms = _Histograms(name, labels, exemplars=openmetrics)
        while some := list(islice(samples, _HISTOGRAMS_AT_ONCE)):
            yield b"".join([histograms.text(values, value) for values, value in some])
        return
    line = name + suffix + labels.template + b" %b\n"
    written, pick, small = _escaped, labels.pick, _SMALL.get
    while some := list(islice(samples, _SERIES_AT_ONCE)):
        # perf: most numbers are small, and those are written once for all.
        yield b"".join(
            [line % (*map(written, pick(values)), small(value) or number(value)) for values, value in some]
            if pick
            else [line % (*map(written, values), small(value) or number(value)) for values, value in some]
        )


def number(value: Value) -> bytes:
    """Write a number as Go does, in which Prometheus is written."""
    assert not isinstance(value, Histogram)
    if -_EXPONENT_FROM < value < _EXPONENT_FROM:
        return repr(float(value)).encode()
    return str(floatToGoString(value)).encode()  # type: ignore[no-untyped-call]


class _Labels:
    """The labels of a family, which are written in the order of their names."""

    def __init__(self, names: Sequence[str]) -> None:
        order = sorted(range(len(names)), key=names.__getitem__)
        self.names = [names[at].encode() for at in order]
        self.template = b"{%b}" % b",".join([b'%b="%%b"' % name for name in self.names]) if names else b""
        self.pick = None if order == list(range(len(names))) else itemgetter(*order)
        """Puts values into that order, where they are not in it."""

    def pairs(self, values: Sequence[str]) -> list[bytes]:
        """Write each label with its value."""
        ordered = values if self.pick is None else self.pick(values)
        return [b'%b="%b"' % (name, _escaped(value)) for name, value in zip(self.names, ordered, strict=True)]


class _Histograms:
    """Writes the histograms of a family: the buckets, each of which counts those below it too, number and sum."""

    def __init__(self, name: bytes, labels: _Labels, *, exemplars: bool) -> None:
        self._name = name
        self._labels = labels
        self._exemplars = exemplars
        self._before_le = sum(label < b"le" for label in labels.names)
        self._templates: dict[tuple[bytes, tuple[float, ...]], bytes] = {}

    def text(self, values: Sequence[str], histogram: Value) -> bytes:
        """Write one histogram."""
        assert isinstance(histogram, Histogram)
        pairs = self._labels.pairs(values)
        start = b"".join([pair + b"," for pair in pairs[: self._before_le]])
        end = b",".join(pairs[self._before_le :])
        totals = tuple(accumulate(list(histogram.counts)))
        if totals[-1] >= _EXPONENT_FROM or (self._exemplars and histogram.exemplars) or _END in start:
            return self._in_full(start, end, totals, histogram)
        # perf: to fill in a text of all lines takes half of the time of putting them together, and with bytes a third.
        lines = self._template(start, histogram.bounds) % (*totals, totals[-1], number(histogram.sum))
        return lines.replace(_END, end)

    def _template(self, start: bytes, bounds: tuple[float, ...]) -> bytes:
        """Give all lines without their numbers, and with ``_END`` for the labels behind ``le``."""
        template = self._templates.get((start, bounds))
        if template is None:
            end = _END if len(self._labels.names) > self._before_le else b""
            numbers = [b"%d.0"] * (len(bounds) + 2)
            template = self._lines(start.replace(b"%", b"%%"), end, bounds, [*numbers, b"%b"])
            self._templates[start, bounds] = template
        return template

    def _in_full(self, start: bytes, end: bytes, totals: Sequence[int], histogram: Histogram) -> bytes:
        """Write a histogram some of whose buckets have an exemplar, or count so many that Go writes an exponent."""
        exemplars = dict(histogram.exemplars or {}) if self._exemplars else {}
        numbers = [number(total) + _exemplar(exemplars.get(bucket)) for bucket, total in enumerate(totals)]
        return self._lines(start, end, histogram.bounds, [*numbers, number(totals[-1]), number(histogram.sum)])

    def _lines(self, start: bytes, end: bytes, bounds: tuple[float, ...], numbers: Sequence[bytes]) -> bytes:
        """Write the lines of all buckets, of how many were observed and of their sum; ``numbers`` are of all lines."""
        name, behind_le = self._name, b"," + end if end else b""
        labels = start + end if end else start[:-1]
        labels = b"{%b}" % labels if labels else b""
        heads = [b'%b_bucket{%ble="%b"%b}' % (name, start, bound, behind_le) for bound in _names_of(bounds)]
        heads += [name + b"_count" + labels, name + b"_sum" + labels]
        return b"".join([b"%b %b\n" % (head, each) for head, each in zip(heads, numbers, strict=True)])


def _exemplar(exemplar: Exemplar | None) -> bytes:
    """Write what follows the number of a bucket; to the millisecond, as Prometheus keeps it."""
    if exemplar is None:
        return b""
    at = (exemplar.trace_id.encode(), number(exemplar.value), exemplar.at)
    return b' # {trace_id="%b"} %b %.3f' % at


@cache
def _names_of(bounds: tuple[float, ...]) -> tuple[bytes, ...]:
    """Write the bounds of buckets; there are few sets of them."""
    return (*[str(bound).encode() for bound in bounds], b"+Inf")


@lru_cache(_KNOWN_VALUES)
def _escaped(text: str) -> bytes:
    return _escaped_but_quotes(text).replace(b'"', rb"\"")


def _escaped_but_quotes(text: str) -> bytes:
    return text.encode().replace(b"\\", rb"\\").replace(b"\n", rb"\n")
