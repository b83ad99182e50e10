"""Bars are as long as their values say."""

from xml.etree import ElementTree as ET

import pytest

from loadtest.svg.bar_chart import bar_chart
from loadtest.svg.drawing import Drawing

SVG = "{http://www.w3.org/2000/svg}"


def root_of(drawing: Drawing) -> ET.Element:
    return ET.fromstring(drawing.file())


def bars(root: ET.Element) -> list[ET.Element]:
    return [each for each in root.iter(f"{SVG}rect") if "bar" in (each.get("class") or "")]


def test_a_bar_is_as_long_as_its_value_in_its_panel() -> None:
    panels = [("a", [("x", 10.0), ("y", 40.0)]), ("b", [("x", 3.0), ("y", 1.5)])]
    root = root_of(bar_chart("Title <1>", panels, "y"))
    lengths = [float(each.attrib["width"]) for each in bars(root)]
    assert lengths[0] == pytest.approx(lengths[1] / 4)
    assert lengths[2] == lengths[1]
    assert lengths[3] == pytest.approx(lengths[2] / 2)
    words = [each.text for each in root.iter(f"{SVG}text")]
    assert {"Title <1>", "a", "b", "x", "y", "10.0", "40.0", "3.0", "1.5"} == set(words)


def test_the_marked_bar_stands_out() -> None:
    root = root_of(bar_chart("t", [("a", [("x", 1.0), ("y", 2.0), ("z", 3.0)])], "y"))
    assert ["marked" in each.attrib["class"] for each in bars(root)] == [False, True, False]
    assert [each.text for each in root.iter(f"{SVG}text") if "marked" in each.attrib["class"]] == ["y", "2.0"]


@pytest.mark.parametrize("value", [0.0, 0.001, 123_456.0])
def test_everything_is_within_the_picture(value: float) -> None:
    drawing = bar_chart("t", [("a", [("x", value)] * 9)] * 3, "y")
    assert len(bars(root_of(drawing))) == 27
    for each in bars(root_of(drawing)):
        assert 0 <= float(each.attrib["x"]) + float(each.attrib["width"]) < drawing.width - 40
        assert float(each.attrib["y"]) + float(each.attrib["height"]) < drawing.height
