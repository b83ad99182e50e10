"""Each kind of panel is written as Grafana reads it."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.monitoring.panels import Column, Heatmap, Limits, Lines, Number, Panel, Query, Switches, Table

WORDS: dict[str, Any] = {"title": "T", "description": "D", "unit": "s"}
ASKED = Query("up", "{{job}}")


@pytest.mark.parametrize(
    ("panel", "kind", "form", "instant"),
    [
        (Lines(queries=[ASKED], **WORDS), "timeseries", "time_series", False),
        (Number(queries=[ASKED], **WORDS), "stat", "time_series", False),
        (Heatmap(queries=[ASKED], **WORDS), "heatmap", "heatmap", False),
        (Switches(queries=[ASKED], **WORDS), "state-timeline", "time_series", False),
        (Table(queries=[ASKED], **WORDS), "table", "table", True),
    ],
    ids=["lines", "number", "heatmap", "switches", "table"],
)
def test_what_all_panels_have(panel: Panel, kind: str, form: str, instant: bool) -> None:
    written = panel.json()
    assert (written["type"], written["title"], written["description"]) == (kind, "T", "D")
    (target,) = written["targets"]
    assert (target["expr"], target["format"]) == ("up", form)
    assert (target["instant"], target["range"]) == (instant, not instant)


def test_queries_have_letters_and_legends() -> None:
    targets = Lines(queries=[ASKED, Query("down")], **WORDS).json()["targets"]
    assert [(each["refId"], each["legendFormat"]) for each in targets] == [("A", "{{job}}"), ("B", "__auto")]


def test_a_value_that_must_be_low_is_red_from_the_upper_limit_on() -> None:
    steps = Limits(0.01, 0.1).steps()
    assert [(step["color"], step["value"]) for step in steps] == [("green", None), ("orange", 0.01), ("red", 0.1)]


def test_a_value_that_must_be_high_is_red_below_the_lower_limit() -> None:
    steps = Limits(0.95, 0.85, low_is_bad=True).steps()
    assert [(step["color"], step["value"]) for step in steps] == [("red", None), ("orange", 0.85), ("green", 0.95)]


def test_limits_are_drawn_in_charts_that_have_any() -> None:
    drawn = [
        Lines(queries=[ASKED], limits=limits, **WORDS).json()["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"]
        for limits in (None, Limits(1, 2))
    ]
    assert drawn == [{"mode": "off"}, {"mode": "dashed"}]


def test_only_stacked_charts_add_their_series_up() -> None:
    stacking = [
        Lines(queries=[ASKED], stacked=stacked, **WORDS).json()["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"]
        for stacked in (False, True)
    ]
    assert stacking == ["none", "normal"]


def test_switches_have_words_for_off_and_on() -> None:
    (mapping,) = Switches(queries=[ASKED], words=("out", "in"), **WORDS).json()["fieldConfig"]["defaults"]["mappings"]
    assert {value: shown["text"] for value, shown in mapping["options"].items()} == {"0": "out", "1": "in"}


def test_the_columns_of_a_table_are_named_by_their_titles_in_their_order() -> None:
    columns = [
        Column(title="Model", label="model"),
        Column(title="A", expression="a"),
        Column(title="B", expression="b"),
    ]
    table = Table.of(columns, title="T", description="D").json()
    assert [target["expr"] for target in table["targets"]] == ["a", "b"]
    merge, organize = table["transformations"]
    assert merge["id"] == "merge"
    assert organize["options"]["renameByName"] == {"model": "Model", "Value #A": "A", "Value #B": "B"}
    assert organize["options"]["indexByName"] == {"model": 0, "Value #A": 1, "Value #B": 2}


def test_the_values_of_a_single_query_have_no_letter() -> None:
    table = Table.of([Column(title="A", expression="a")], title="T", description="D").json()
    assert table["transformations"][1]["options"]["renameByName"] == {"Value": "A"}


def test_a_column_has_its_unit_its_colours_and_its_link() -> None:
    columns = [
        Column(title="A", expression="a", unit="s", limits=Limits(1, 2), link="/d/x"),
        Column(title="B", label="b"),
    ]
    first, second = Table.of(columns, title="T", description="D").json()["fieldConfig"]["overrides"]
    assert first["matcher"] == {"id": "byName", "options": "A"}
    assert [each["id"] for each in first["properties"]] == ["unit", "thresholds", "custom.cellOptions", "links"]
    assert [each["id"] for each in second["properties"]] == ["unit"]
