"""Files, tables and verdicts; and the page in the documentation agrees with the data beside it."""

from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.report import PARTS, fill, misses, read, save, table

ROOT = Path(__file__).parent.parent.parent.parent
PAGE = ROOT / "docs/performance.md"
MACHINE = {
    "cpu": "Abacus",
    "cores": 2,
    "memory_gib": 4.0,
    "kernel": "6",
    "python": "3.11",
    "uvloop": "1",
    "httptools": "1",
    "commit": "abc",
    "at": "2026-01-02T03:04:05+00:00",
}


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
    return {"part": "keys", "per": "request", "limit": 1.3, "compared": "cpu_us", "points": points, "machine": MACHINE}


def steadiness(**changes: Any) -> dict[str, Any]:
    streams = {
        "complete": 10,
        "events": 1000,
        "lost": 0,
        "repeated": 0,
        "long_gaps": 0,
        "longest_gap_ms": 120.0,
        "resident_change": 0.01,
        "direct": {"p50_us": 100.0, "p99_us": 500.0},
        "through": {
            "without_scrapes": {"p50_us": 200.0, "p99_us": 900.0},
            "with_scrapes": {"p50_us": 200.0, "p99_us": 910.0},
        },
        "added_p99_us": {"without_scrapes": 400.0, "with_scrapes": 410.0},
        "lag": {"ticks": 100, "p999_below_ms": 10.0, "within_20_ms": 1.0},
    }
    spike = {
        "requests": 100,
        "refused": 5,
        "before_p99_ms": 50.0,
        "rush_p99_ms": 800.0,
        "recovered_after_seconds": 1.0,
    }
    for name, value in changes.items():
        (streams if name in streams else spike)[name] = value
    return {
        "part": "steadiness",
        "settings": {"streams": 10, "pace": 0.1, "seconds": 600},
        "streams": streams,
        "spike": spike,
    }


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    files = save(tmp_path / "new", "keys", curve(40.0, 41.0), MACHINE)
    assert [file.name for file in files] == ["keys.json", "keys.svg"]
    found = read(tmp_path / "new")
    assert found["keys"]["points"][1]["cpu_us"] == 41.0
    assert found["keys"]["machine"] == MACHINE
    assert "</svg>" in files[1].read_text()


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


def test_memory_is_judged_row_by_row() -> None:
    row = {"what": "a connection", "number": 10, "bytes_each": 20_480, "limit": 16_384}
    found = {"part": "memory", "rows": [row, row | {"bytes_each": 1024}]}
    assert misses(found) == ["a connection: 20.0 KiB, at most 16 are allowed"]
    assert table(found).splitlines()[-1] == "| a connection | 10 | 1.0 | 16 |"


def test_a_steady_run_keeps_every_limit() -> None:
    assert misses(steadiness()) == []
    assert "| events lost | 0 | 0 | kept |" in table(steadiness())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"complete": 9}, "streams that came to their end"),
        ({"lost": 1}, "events lost"),
        ({"repeated": 1}, "events out of order or twice"),
        ({"long_gaps": 1}, "gaps over 1,000 ms"),
        ({"resident_change": 0.06}, "change of RSS"),
        ({"added_p99_us": {"without_scrapes": 400.0, "with_scrapes": 450.0}}, "its rise when scraped"),
        ({"lag": {"ticks": 9, "p999_below_ms": 50.0, "within_20_ms": 0.9}}, "event-loop lag"),
        ({"recovered_after_seconds": 5.5}, "back to normal"),
    ],
)
def test_each_limit_of_the_steadiness_can_be_missed(changes: dict[str, Any], said: str) -> None:
    (miss,) = misses(steadiness(**changes))
    assert miss.startswith(said)
    assert "**missed**" in table(steadiness(**changes))


def test_a_bound_of_the_lag_that_is_no_whole_number_is_not_rounded() -> None:
    lag = {"ticks": 100, "p999_below_ms": 2.5, "within_20_ms": 1.0}
    assert "| event-loop lag, p99.9 | ≤ 2.5 ms | ≤ 20 ms | kept |" in table(steadiness(lag=lag))


def test_where_the_engine_alone_was_slower_the_latencies_themselves_are_compared() -> None:
    added = {"without_scrapes": -10.0, "with_scrapes": 0.0}
    assert misses(steadiness(added_p99_us=added)) == []
    through = {"without_scrapes": {"p50_us": 1.0, "p99_us": 900.0}, "with_scrapes": {"p50_us": 1.0, "p99_us": 1800.0}}
    assert len(misses(steadiness(added_p99_us=added, through=through))) == 1


def test_a_page_gets_its_tables_and_keeps_the_rest() -> None:
    page = "# A\n<!-- bench: keys -->\nold\n<!-- end -->\nB\n<!-- bench: body -->\nnone yet\n<!-- end -->\n"
    page += "<!-- bench: machine -->\n<!-- end -->\n"
    filled = fill(page, {"keys": curve(40.0)})
    assert filled.startswith(f"# A\n<!-- bench: keys -->\n{table(curve(40.0))}\n<!-- end -->\nB\n")
    assert "none yet" in filled
    assert (
        "- keys: Abacus, 2 cores, 4 GiB, Linux 6, Python 3.11, uvloop 1, httptools 1, commit abc, 2026-01-02" in filled
    )
    assert fill(filled, {"keys": curve(40.0)}) == filled


def test_the_page_agrees_with_the_data_beside_it() -> None:
    text = PAGE.read_text("utf-8")
    assert fill(text, read(ROOT / "docs/performance")) == text
    for part in PARTS:
        assert f"<!-- bench: {part} -->" in text
