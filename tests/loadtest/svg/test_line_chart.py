"""Charts are well-formed SVG in which every series is there, within the picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from loadtest.svg.drawing import Drawing
from loadtest.svg.line_chart import HEIGHT, WIDTH, Line, cumulative, line_chart, thinned

SVG = "{http://www.w3.org/2000/svg}"


def drawn(drawing: Drawing) -> ET.Element:
    return ET.fromstring(drawing.figure())


def lines(figure: Drawing) -> list[ET.Element]:
    return [path for path in drawn(figure).iter(f"{SVG}path") if "line" in (path.get("class") or "").split()]


def places(path: ET.Element) -> list[tuple[float, float]]:
    """Read the points of a straight path."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.get("d") or "")]


def labels(figure: Drawing, style: str) -> list[str]:
    return [text.text or "" for text in drawn(figure).iter(f"{SVG}text") if text.get("class") == style]


def test_every_series_is_drawn_and_in_the_legend() -> None:
    figure = line_chart("A & B", [Line("a<b", [(0, 1), (2, 3)]), Line("c", [(1, 1)], marked=True)], x="s", y="n")
    assert [path.findtext(f"{SVG}title") for path in lines(figure)] == ["a<b", "c"]
    assert [item.text for item in drawn(figure).iter("li")] == ["a<b", "c"]
    assert drawn(figure).findtext("figcaption") == "A & B"
    assert len(list(drawn(figure).iter(f"{SVG}circle"))) == 1
    assert labels(figure, "name") == ["s", "n"]


def test_larger_values_are_further_right_and_higher_and_none_is_outside() -> None:
    (path,) = lines(line_chart("t", [Line("a", [(0, 0), (5, 30), (9, 99)])], x="", y=""))
    points = places(path)
    assert points == sorted(points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 9.0], ["0", "2", "4", "6", "8", "10"]),
        ([101.0, 109.0], ["100", "102", "104", "106", "108", "110"]),
        ([0.0, 0.0], ["0", "5e-10", "1e-09"]),
        ([7.0, 7.0], ["7", "7.02"]),
    ],
)
def test_axes_are_labelled_with_round_numbers(values: list[float], ticks: list[str]) -> None:
    figure = line_chart("t", [Line("a", [(value, 1.0) for value in values])], x="", y="")
    assert labels(figure, "x")[0] == ticks[0]
    assert labels(figure, "x")[-1] == ticks[-1]


def test_an_axis_can_be_logarithmic() -> None:
    values = [float(10**power) for power in (0, 0, 0, 1, 3)]
    figure = line_chart("t", [cumulative("a", values)], x="", y="", whole_share=True, log_x=True)
    assert labels(figure, "x") == ["1", "10", "100", "1,000"]
    assert labels(figure, "y")[-1] == "100%"


def test_a_distribution_rises_from_nothing_to_all() -> None:
    line = cumulative("a", [3.0, 1.0, 2.0, 2.0])
    assert line.points == [(1.0, 0.0), (1.0, 0.25), (2.0, 0.5), (2.0, 0.75), (3.0, 1.0)]
    long = cumulative("a", [float(number) for number in range(10_000)])
    assert len(long.points) < 700
    assert long.points[-1] == (9999.0, 1.0)


def test_no_peak_of_a_long_series_gets_lost() -> None:
    points = [(float(number), 1000.0 if number == 4321 else 1.0) for number in range(10_000)]
    kept = thinned(points)
    assert len(kept) <= 600
    assert (4321.0, 1000.0) in kept
    assert thinned(points[:5]) == points[:5]


def test_what_others_are_compared_with_takes_no_colour() -> None:
    figure = line_chart("t", [Line("g", [(0, 0), (1, 1)], guide=True), Line("a", [(0, 0), (1, 1)])], x="", y="")
    assert [path.get("class") for path in lines(figure)] == ["line guide", "line c0"]


def test_both_axes_can_be_logarithmic_and_measured_values_be_named() -> None:
    points = [(1.0, 1.0), (100.0, 100.0), (10_000.0, 10_000.0)]
    figure = line_chart("t", [Line("a", points)], x="", y="", log_x=True, log_y=True, x_ticks=[1, 100, 10_000])
    assert labels(figure, "x") == ["1", "100", "10,000"]
    (first, second, third) = places(lines(figure)[0])
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.02)
    assert first[1] - second[1] == pytest.approx(second[1] - third[1], abs=0.02)
