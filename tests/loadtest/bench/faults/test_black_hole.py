"""The black hole of the benchmark is found, what waits there goes on elsewhere, and the figures tell."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from loadtest.bench.faults import black_hole
from loadtest.bench.faults.black_hole import BlackHoleSettings, figures

LINE = black_hole._Line
NOW = datetime.now(UTC)


def test_only_requests_that_were_at_the_others_alone_are_the_others() -> None:
    lines = [
        LINE(NOW, 200, 30.0, "m-1", 1, 10.0),
        LINE(NOW, 200, 900.0, "m-2", 2, 800.0),
        LINE(NOW, 504, 700.0, "m-0", 1),
        LINE(NOW, 200, 999.0, "m-0", 1, 900.0),
    ]
    assert figures(lines, 2.5) == {
        "requests": 4,
        "failed": 1,
        "p99_ttft_ms": 10.0,
        "p99_e2e_ms": 30.0,
        "moved": 1,
        "longest_moved_ms": 900.0,
        "ejected_after_s": 2.5,
    }


@pytest.mark.slow
async def test_eight_replicas_do_without_one_that_answers_health_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way = "answers /health"
    monkeypatch.setattr(black_hole, "WAYS", {"none": black_hole.WAYS["none"], way: black_hole.WAYS[way]})
    said: list[str] = []
    settings = BlackHoleSettings(warm_seconds=4.0, seconds=10.0, rounds=1, places=6)
    found = (await black_hole.measure(said.append, settings))["medians"]
    assert len(said) == 2
    assert found["none"]["failed"] == found[way]["failed"] == 0
    assert found[way]["moved"] > found["none"]["moved"]
    assert found[way]["ejected_after_s"] is not None
