"""A dashboard places its panels on the grid, and its links and variables are those of all."""

from __future__ import annotations

from typing import Any

from deploy.monitoring.dashboard import Dashboard, Row
from deploy.monitoring.panels import Lines, Query


def panel(width: int, height: int = 8) -> Lines:
    return Lines(title="T", description="D", unit="s", queries=[Query("up")], width=width, height=height)


def places(*rows: Row) -> list[tuple[int, int, int, int]]:
    """Where everything stands: x, y, width and height."""
    written = Dashboard("d", "D", "A dashboard.", rows).json()["panels"]
    return [(at["x"], at["y"], at["w"], at["h"]) for at in (each["gridPos"] for each in written)]


def test_panels_stand_side_by_side_below_their_heading() -> None:
    assert places(Row("R", [panel(8), panel(16)])) == [(0, 0, 24, 1), (0, 1, 8, 8), (8, 1, 16, 8)]


def test_what_does_not_fit_begins_a_line_below_the_highest_panel() -> None:
    assert places(Row("R", [panel(12, 4), panel(8, 6), panel(6)])) == [
        (0, 0, 24, 1),
        (0, 1, 12, 4),
        (12, 1, 8, 6),
        (0, 7, 6, 8),
    ]


def test_a_row_begins_below_the_one_before() -> None:
    assert places(Row("R", [panel(8)]), Row("S", [panel(8)]))[2:] == [(0, 9, 24, 1), (0, 10, 8, 8)]


def test_every_panel_has_a_number_of_its_own() -> None:
    written = Dashboard("d", "D", "A dashboard.", [Row("R", [panel(8), panel(8)])]).json()["panels"]
    assert [each["id"] for each in written] == [1, 2, 3]


def test_people_choose_gateways_and_models_and_the_pools_follow() -> None:
    variables: list[dict[str, Any]] = Dashboard("d", "D", "A dashboard.", []).json()["templating"]["list"]
    assert [(each["name"], each["hide"]) for each in variables] == [
        ("datasource", 0),
        ("instance", 0),
        ("model", 0),
        ("pool", 2),
    ]
    assert "allValue" not in variables[3]
