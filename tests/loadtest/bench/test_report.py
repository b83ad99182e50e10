"""Files, tables and verdicts; and the page in the documentation agrees with the data beside it."""

from pathlib import Path
from typing import Any

from loadtest.bench.report import PARTS, chart, fill, misses, read, save, table

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


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    files = save(tmp_path / "new", "keys", curve(40.0, 41.0), MACHINE)
    assert [file.name for file in files] == ["keys.json", "keys.svg"]
    found = read(tmp_path / "new")
    assert found["keys"]["points"][1]["cpu_us"] == 41.0
    assert found["keys"]["machine"] == MACHINE
    assert "</svg>" in files[1].read_text()


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


def test_the_charts_agree_with_the_data_beside_them() -> None:
    for part, found in read(ROOT / "docs/performance").items():
        file = ROOT / f"docs/performance/{part}.svg"
        drawing = chart(found)
        assert file.exists() == (drawing is not None)
        assert drawing is None or file.read_text("utf-8") == drawing.file()


def test_each_part_is_held_against_its_own_limits() -> None:
    assert misses(curve(40.0, 60.0))[0].startswith("keys 10: 60.0 us per request are 1.50 times the cheapest before")
    row = {"what": "a connection", "number": 10, "bytes_each": 20_480, "limit": 16_384}
    assert misses({"part": "memory", "rows": [row]}) == ["a connection: 20.0 KiB, at most 16 are allowed"]
