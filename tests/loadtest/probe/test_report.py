"""What was measured is written as a table and drawn as bars, for one model or for several."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import msgspec

from engines.robustness import Row
from loadtest.probe.measure import Result
from loadtest.probe.report import plot, table

RESULT = Result(
    "guard",
    "prompts.jsonl",
    200,
    7,
    [Row("as written", 0, 0.9, None), Row("typos", 160, 0.855, 0.125), Row("x", 0, 0.9, None)],
)
OTHER = msgspec.structs.replace(
    RESULT,
    model="ft:<other>",
    rows=[Row("as written", 0, 0.8, None), Row("typos", 160, 0.81, 0.1), Row("x", 0, 0.8, None)],
)
SVG = "{http://www.w3.org/2000/svg}"


def test_a_row_tells_what_was_changed_lost_and_answered_otherwise() -> None:
    assert table([RESULT]).splitlines() == [
        "guard on 200 texts of prompts.jsonl (seed 7); one text is 0.5 points.",
        "",
        "| texts | changed | accuracy | points lost | answers changed |",
        "|---|--:|--:|--:|--:|",
        "| as written | 0 | 90.0 % |  |  |",
        "| typos | 160 | 85.5 % | 4.5 | 12.5 % |",
        "| x | 0 | 90.0 % | 0.0 |  |",
    ]


def test_several_models_have_a_column_each() -> None:
    assert table([RESULT, OTHER]).splitlines() == [
        "Accuracy on 200 texts of prompts.jsonl (seed 7); one text is 0.5 points. In brackets: points against "
        "that as written.",
        "",
        "| texts | changed | guard | ft:<other> |",
        "|---|--:|--:|--:|",
        "| as written | 0 | 90.0 % | 80.0 % |",
        "| typos | 160 | 85.5 % (-4.5) | 81.0 % (+1.0) |",
        "| x | 0 | 90.0 % (+0.0) | 80.0 % (+0.0) |",
    ]


def test_the_plot_has_a_bar_for_each_row() -> None:
    drawn = ET.fromstring(plot([RESULT]))
    bars = [each for each in drawn.iter(f"{SVG}rect") if "bar" in each.get("class", "")]
    assert len(bars) == 3
    assert "guard: accuracy on changed texts" in plot([RESULT])


def test_the_plot_of_several_models_names_them_and_has_a_bar_of_each_for_each_row() -> None:
    drawn = ET.fromstring(plot([RESULT, OTHER]))
    told = [each.text for each in drawn.iter(f"{SVG}title")]
    assert told[:3] == [
        "guard, as written: 90.0 % of 200 texts",
        "ft:<other>, as written: 80.0 % of 200 texts",
        "guard, typos: 85.5 % of 200 texts",
    ]
    assert len(told) == 6
    assert {"guard", "ft:<other>", "% of 200 texts"} <= {each.text for each in drawn.iter(f"{SVG}text")}
