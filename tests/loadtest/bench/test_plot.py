"""A plot is a picture that any browser reads, with every point on it."""

from xml.etree import ElementTree as ET

import pytest

from loadtest.bench.plot import svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "points", [[(1, 40.0), (10, 42.0), (1000, 50.0)], [(1, 90.0), (100, 5.0), (10_000, 0.5)], [(1, 3)]]
)
@pytest.mark.parametrize("limit", [None, 55.0])
def test_every_point_is_within_the_picture(points: list[tuple[float, float]], limit: float | None) -> None:
    root = ET.fromstring(svg("Title <1>", "across", "up", points, limit))
    circles = root.findall(f"{SVG}circle")
    assert len(circles) == len(points)
    assert all(0 < float(each.attrib["cx"]) < 640 and 0 < float(each.attrib["cy"]) < 360 for each in circles)
    words = {each.text for each in root.iter(f"{SVG}text")}
    assert {"Title <1>", "across", "up", f"{points[-1][0]:,.0f}"} <= words
    assert ("limit" in words) == (limit is not None)


def test_more_is_higher_and_further_right() -> None:
    first, second = ET.fromstring(svg("t", "a", "u", [(1, 10.0), (10, 20.0)], None)).findall(f"{SVG}circle")
    assert float(first.attrib["cx"]) < float(second.attrib["cx"])
    assert float(first.attrib["cy"]) > float(second.attrib["cy"])
