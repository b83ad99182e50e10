"""Bars are a picture that any browser reads, and as long as their values say."""

from xml.etree import ElementTree as ET

import pytest

from loadtest.bench.bars import svg

SVG = "{http://www.w3.org/2000/svg}"


def bars(root: ET.Element) -> list[ET.Element]:
    """Return all rectangles but the background."""
    return root.findall(f"{SVG}rect")[1:]


def test_a_bar_is_as_long_as_its_value_in_its_panel() -> None:
    root = ET.fromstring(svg("Title <1>", [("a", [("x", 10.0), ("y", 40.0)]), ("b", [("x", 3.0), ("y", 1.5)])], "y"))
    lengths = [float(each.attrib["width"]) for each in bars(root)]
    assert lengths[0] == pytest.approx(lengths[1] / 4)
    assert lengths[2] == lengths[1]
    assert lengths[3] == pytest.approx(lengths[2] / 2)
    words = [each.text for each in root.iter(f"{SVG}text")]
    assert {"Title <1>", "a", "b", "x", "y", "10.0", "40.0", "3.0", "1.5"} == set(words)


def test_the_marked_bar_stands_out() -> None:
    root = ET.fromstring(svg("t", [("a", [("x", 1.0), ("y", 2.0), ("z", 3.0)])], "y"))
    x, y, z = (each.attrib["fill"] for each in bars(root))
    assert x == z != y
    assert [each.text for each in root.iter(f"{SVG}text") if "font-weight" in each.attrib] == ["y", "2.0"]


@pytest.mark.parametrize("value", [0.0, 0.001, 123_456.0])
def test_everything_is_within_the_picture(value: float) -> None:
    root = ET.fromstring(svg("t", [("a", [("x", value)] * 9)] * 3, "y"))
    width, height = (float(each) for each in root.attrib["viewBox"].split()[2:])
    for each in bars(root):
        assert 0 <= float(each.attrib["x"]) + float(each.attrib["width"]) < width - 40
        assert float(each.attrib["y"]) + float(each.attrib["height"]) < height
    # It does not depend on what it is shown on.
    assert root.find(f"{SVG}rect").attrib["fill"] == "white"  # type: ignore[union-attr]
