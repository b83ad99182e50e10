"""What is concluded from a batch beside streams, and that it is measured to its end."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.bench.batch import BatchSettings, measure, misses, table


def run(**changes: Any) -> dict[str, Any]:
    side = {"streams": 10, "failed": 0, "ttft_p50_ms": 10.0, "ttft_p99_ms": 20.0}
    return {
        "max_in_flight": 64,
        "failed": 0,
        "alone": side,
        "beside": side,
        "times": 1.0,
        "lines_per_second": 100.0,
        "killed_after": 5000,
        "status": "completed",
        "missing": 0,
        "repeated": 0,
        **changes,
    }


def test_a_table_has_a_row_for_each_limit() -> None:
    written = table({"runs": [run(), run(max_in_flight=0, missing=1)]})
    assert "| 64 | 10.0 / 20.0 ms | 10.0 / 20.0 ms | 1.0 | 100.0 | 5000 lines | 0 missing, 0 twice |" in written
    assert "| none |" in written
    assert "1 missing, 0 twice" in written


def test_what_is_missed_is_named() -> None:
    assert misses({"runs": [run()]}) == []
    found = misses({"runs": [run(times=1.2), run(missing=1), run(status="expired")]})
    assert [each.split(": ")[1].split(" ")[0] for each in found] == ["p99", "1", "the"]


@pytest.mark.slow
async def test_a_batch_is_killed_in_the_middle_and_each_line_has_one_result() -> None:
    said: list[str] = []
    settings = BatchSettings(lines=100, seconds=0.5, tokens=4, speed=1.0, limits=(8,))
    found = await measure(settings, said.append)
    assert found["failed"] == 0
    assert (found["runs"][0]["status"], found["runs"][0]["missing"], found["runs"][0]["repeated"]) == (
        "completed",
        0,
        0,
    )
    assert len(said) == 1
