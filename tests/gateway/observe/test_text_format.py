"""What is written is what ``prometheus_client`` writes of the same numbers, to the byte."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as LibraryExemplar

from gateway.observe.counters import Exemplar, Histogram
from gateway.observe.text_format import Family, Kind, pieces_of

MAKE = {Kind.COUNTER: CounterMetricFamily, Kind.GAUGE: GaugeMetricFamily, Kind.HISTOGRAM: HistogramMetricFamily}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


def unsigned_zero(number: float) -> float:
    """Give a number; the library writes two zeros, and nothing counts to the negative one."""
    return number + 0.0


NUMBERS = st.one_of(
    st.integers(0, 10**12).map(float),
    st.floats(allow_nan=False).map(unsigned_zero),
    st.sampled_from([0.5, 999_999.0, 1_000_000.0, -3.0]),
)


def text_of(family: Family, *, openmetrics: bool) -> str:
    return b"".join(pieces_of(family, openmetrics=openmetrics)).decode()


class Library(Collector):
    """A family as ``prometheus_client`` has it."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        family = self._family
        metric = MAKE[family.kind](family.name, family.documentation, labels=family.labels)
        for labels, value in family.samples:
            if isinstance(value, Histogram):
                names = [*map(str, value.bounds), "+Inf"]
                buckets = list(zip(names, map(float, accumulate(value.counts)), strict=True))
                metric.add_metric(labels, buckets, value.sum)
            else:
                metric.add_metric(labels, value)
        yield metric


def same(family: Family) -> None:
    library = Library(family)
    assert text_of(family, openmetrics=False).encode() == generate_latest(library)
    openmetrics = text_of(family, openmetrics=True) + "# EOF\n"
    assert openmetrics.encode() == generate_openmetrics(library)  # type: ignore[no-untyped-call]


@given(st.sampled_from([Kind.COUNTER, Kind.GAUGE]), TEXTS, st.lists(st.tuples(TEXTS, TEXTS, NUMBERS), max_size=4))
def test_counters_and_gauges(kind: Kind, documentation: str, rows: list[tuple[str, str, float]]) -> None:
    same(Family(kind, "headgate_x", documentation, ("model", "code"), [(row[:2], row[2]) for row in rows]))


@pytest.mark.parametrize("labels", [(), ("model",), ("model", "endpoint"), ("kind", "zone", "le_not")])
@given(TEXTS, st.lists(st.integers(0, 10**9), min_size=4, max_size=4), st.floats(0, 1e9))
def test_histograms(labels: tuple[str, ...], text: str, counts: list[int], total: float) -> None:
    histogram = Histogram((0.00005, 0.005, 10.0), counts, total)
    same(Family(Kind.HISTOGRAM, "headgate_x_seconds", "How long.", labels, [([text] * len(labels), histogram)]))


def test_a_family_without_labels() -> None:
    family = Family(Kind.GAUGE, "up", "Whether.", (), [((), 1.0)])
    assert text_of(family, openmetrics=False) == "# HELP up Whether.\n# TYPE up gauge\nup 1.0\n"
    same(family)


EXEMPLARS = {0: Exemplar("a" * 32, 0.000_01, 1_700_000_000.123), 3: Exemplar("b" * 32, 2e6, 1_700_000_000.5)}


@pytest.mark.parametrize("counts", [[1, 0, 2, 3], [10**6, 0, 2, 3]])
def test_exemplars_are_written_as_the_library_writes_them_and_in_openmetrics_only(counts: list[int]) -> None:
    histogram = Histogram((0.00005, 0.005, 10.0), counts, 1.5, dict(EXEMPLARS))
    family = Family(Kind.HISTOGRAM, "headgate_x_seconds", "X.", ("model",), [(("m",), histogram)])
    metric = HistogramMetricFamily("headgate_x_seconds", "X.", labels=("model",))
    names = [*map(str, histogram.bounds), "+Inf"]
    totals = map(float, accumulate(histogram.counts))
    marked = [LibraryExemplar({"trace_id": each.trace_id}, each.value, each.at) for each in EXEMPLARS.values()]
    plain = list(zip(names, totals, strict=True))
    metric.add_metric(["m"], [(*plain[0], marked[0]), *plain[1:3], (*plain[3], marked[1])], 1.5)

    class Exemplified(Collector):
        def collect(self) -> Iterable[Metric]:
            yield metric

    by_library = generate_openmetrics(Exemplified()).decode()  # type: ignore[no-untyped-call]
    ours = text_of(family, openmetrics=True) + "# EOF\n"
    assert ours == by_library.replace("1700000000.5\n", "1700000000.500\n")
    assert "trace_id" not in text_of(family, openmetrics=False)
    (read,) = parse_openmetrics(ours)  # type: ignore[no-untyped-call]
    found = {sample.labels["le"]: sample.exemplar for sample in read.samples if sample.exemplar is not None}
    assert {le: each.labels["trace_id"] for le, each in found.items()} == {"5e-05": "a" * 32, "+Inf": "b" * 32}
    assert [each.value for each in found.values()] == [0.000_01, 2e6]
    assert [float(each.timestamp) for each in found.values()] == [1_700_000_000.123, 1_700_000_000.5]


def test_many_series_are_several_pieces_and_none_is_large() -> None:
    histogram = Histogram((0.1, 1.0), [1, 2, 3], 4.5)
    rows = [((f"m-{number}", "a"), number) for number in range(1000)]
    families = [
        Family(Kind.GAUGE, "headgate_x", "X.", ("model", "code"), rows),
        Family(Kind.COUNTER, "headgate_y", "Y.", ("model", "code"), rows),
        Family(Kind.HISTOGRAM, "headgate_z", "Z.", ("model", "endpoint"), [(row[0], histogram) for row in rows]),
    ]
    for family in families:
        pieces = list(pieces_of(family, openmetrics=False))
        assert len(pieces) > 4
        assert max(map(len, pieces)) < 100_000
        assert all(piece.endswith(b"\n") for piece in pieces)
        same(family)


@given(st.text("\x00\x01%s{},", max_size=6), st.text("\x00\x01%s{},", max_size=6))
def test_what_stands_for_something_while_it_is_written_may_be_in_labels(first: str, second: str) -> None:
    histogram = Histogram((0.1, 1.0), [1, 2, 3], 4.5)
    same(Family(Kind.HISTOGRAM, "headgate_x", "X.", ("endpoint", "model"), [((first, second), histogram)]))
    same(Family(Kind.HISTOGRAM, "headgate_x", "X.", ("endpoint",), [((first,), histogram)]))
    same(Family(Kind.GAUGE, "headgate_x", "X.", ("zone", "model"), [((first, second), 1.0)]))
