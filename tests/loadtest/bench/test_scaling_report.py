"""A curve's table and chart have every point, and its limit is held against each."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from loadtest.bench.scaling_report import chart, misses, table

SVG = "{http://www.w3.org/2000/svg}"


def curve(*costs: float) -> dict[str, Any]:
    points = [
        {
            "value": 10**number,
            "per_second": 1000.0,
            "cpu_us": cost,
            "p50_us": 100.0,
            "p99_us": 200.0,
            "resident_mib": 50.0,
            "idle_cpu_percent": 0.2,
            "scrape_cpu_ms": 1.5,
            "times_first": cost / costs[0],
            "times_cheapest": cost / min(costs[: number + 1]),
        }
        for number, cost in enumerate(costs)
    ]
    return {"part": "keys", "per": "request", "limit": 1.3, "compared": "cpu_us", "points": points}


def test_a_table_has_a_row_for_each_point() -> None:
    lines = table(curve(40.0, 50.0)).splitlines()
    assert lines[2] == "| 1 | 1,000 | 40.0 | 1.00 | 1.00 | 0.10 | 0.20 | 50 | 0.2 | 1.5 |"
    assert lines[3] == "| 10 | 1,000 | 50.0 | 1.25 | 1.25 | 0.10 | 0.20 | 50 | 0.2 | 1.5 |"
    assert lines[-1] == "![CPU per request](performance/keys.svg)"


def test_points_are_compared_at_a_steady_rate_where_there_is_one() -> None:
    found = curve(40.0, 80.0) | {"compared": "steady_cpu_us"}
    for point in found["points"]:
        point |= {"steady_rate": 10_000.0, "steady_cpu_us": 60.0, "times_first": 1.0, "times_cheapest": 1.0}
    lines = table(found).splitlines()
    assert lines[0].startswith("| API keys | requests/s | CPU µs per request | at a steady rate of | CPU µs per ")
    assert lines[3] == "| 10 | 1,000 | 80.0 | 10,000/s | 60.0 | 1.00 | 1.00 | 0.10 | 0.20 | 50 | 0.2 | 1.5 |"
    assert misses(found) == []
    found["points"][1] |= {"steady_cpu_us": 90.0, "times_cheapest": 1.5}
    (miss,) = misses(found)
    assert miss.startswith("keys 10: 90.0 us per request are 1.50 times the cheapest before")


def test_a_point_is_judged_by_the_cheapest_before_it() -> None:
    assert misses(curve(40.0, 50.0)) == []
    (miss,) = misses(curve(60.0, 40.0, 53.0))
    assert miss.startswith("keys 100: 53.0 us per request are 1.32 times the cheapest before")


@pytest.mark.parametrize("limit", [None, 1.3])
def test_the_chart_has_every_point_and_the_limit(limit: float | None) -> None:
    root = ET.fromstring(chart(curve(40.0, 42.0, 50.0) | {"limit": limit}).file())
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    words = {each.text for each in root.iter(f"{SVG}text")}
    assert {"What one request costs", "API keys", "CPU of the gateway, us per request", "1", "10", "100"} <= words
    assert ("limit" in words) == (limit is not None)
    assert len([each for each in root.iter(f"{SVG}path") if "line" in (each.get("class") or "")]) >= 1


def test_costs_that_differ_much_are_on_a_logarithmic_axis() -> None:
    def heights(*costs: float) -> list[float]:
        root = ET.fromstring(chart(curve(*costs) | {"limit": None}).file())
        return [float(each.attrib["cy"]) for each in root.iter(f"{SVG}circle")]

    low, middle, high = heights(1.0, 10.0, 100.0)
    assert low - middle == pytest.approx(middle - high, abs=0.1)
    low, middle, high = heights(10.0, 20.0, 30.0)
    assert low - middle == pytest.approx(middle - high, abs=0.1)
