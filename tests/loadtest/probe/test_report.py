"""What was measured is written as a table and drawn as bars."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from loadtest.probe.measure import Result, Row
from loadtest.probe.report import plot, table

RESULT = Result(
    "guard",
    "prompts.jsonl",
    200,
    7,
    [Row("as written", 0, 0.9, None), Row("typos", 160, 0.855, 0.125), Row("x", 0, 0.9, None)],
)


def test_a_row_tells_what_was_changed_lost_and_answered_otherwise() -> None:
    assert table(RESULT).splitlines() == [
        "guard on 200 texts of prompts.jsonl (seed 7); one text is 0.5 points.",
        "",
        "| texts | changed | accuracy | points lost | answers changed |",
        "|---|--:|--:|--:|--:|",
        "| as written | 0 | 90.0 % |  |  |",
        "| typos | 160 | 85.5 % | 4.5 | 12.5 % |",
        "| x | 0 | 90.0 % | 0.0 |  |",
    ]


def test_the_plot_has_a_bar_for_each_row() -> None:
    drawn = ET.fromstring(plot(RESULT))
    bars = [each for each in drawn.iter("{http://www.w3.org/2000/svg}rect") if "bar" in each.get("class", "")]
    assert len(bars) == 3
    assert "guard: accuracy on changed texts" in plot(RESULT)
