"""A drawing is well-formed in both of its forms, and a file needs nothing else."""

import re
from xml.etree import ElementTree as ET

from loadtest.svg.drawing import COLOURS, PAGE_STYLE, Drawing

SVG = "{http://www.w3.org/2000/svg}"
LEGEND = [("c0", "cost <1>"), ("guide", "limit")]
DRAWING = Drawing("A & B", 640, 300, ['<path class="line c0" d="M0 0L1 1"/>'], LEGEND)


def test_a_figure_has_its_title_and_legend_in_html() -> None:
    figure = ET.fromstring(DRAWING.figure())
    assert figure.findtext("figcaption") == "A & B"
    assert [(item.get("class"), item.text) for item in figure.iter("li")] == LEGEND
    (picture,) = figure.iter(f"{SVG}svg")
    assert picture.attrib["viewBox"] == "0 0 640 300"
    assert picture.attrib["aria-label"] == "A & B"


def test_a_file_has_its_title_legend_background_and_colours_within() -> None:
    written = DRAWING.file()
    root = ET.fromstring(written)
    assert [each.text for each in root.iter(f"{SVG}text")] == ["A & B", "cost <1>", "limit"]
    background = next(root.iter(f"{SVG}rect"))
    assert background.attrib["fill"] == "white"
    assert root.attrib["viewBox"] == f"0 0 {background.attrib['width']} {background.attrib['height']}"
    assert "var(" not in written
    assert re.search(r"path\.c0 { stroke: #\w+; }", written)


def test_the_legend_of_a_file_is_above_the_chart() -> None:
    root = ET.fromstring(DRAWING.file())
    chart = next(root.iter(f"{SVG}g"))
    below = float(re.findall(r"\d+", chart.attrib["transform"])[-1])
    assert all(float(each.attrib["y"]) < below for each in root.findall(f"{SVG}text"))


def test_one_series_alone_needs_no_legend_in_a_file() -> None:
    alone = Drawing("t", 640, 300, [], LEGEND[:1])
    assert [each.text for each in ET.fromstring(alone.file()).iter(f"{SVG}text")] == ["t"]


def test_every_colour_of_a_page_is_defined_for_light_and_dark_screens() -> None:
    used = set(re.findall(r"var\((--\w+)\)", PAGE_STYLE))
    assert {f"--c{number}" for number in range(COLOURS)} < used
    assert all(PAGE_STYLE.count(f"{name}: #") == 2 for name in used)
