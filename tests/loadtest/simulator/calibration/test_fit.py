"""Costs are found again in times that were made from them."""

import json
from pathlib import Path

import pytest

from loadtest.simulator.calibration.fit import Point, first_token, fit, gap, profile_text, table
from loadtest.simulator.profile import COSTS, PROFILES

ROOT = Path(__file__).parent.parent.parent.parent.parent

COST = (0.004, 0.03, 0.002, 0.0025, 1.5e-6)


def made(point: Point, seconds: float | None = None) -> Point:
    """Give a point the time that these costs have, or another."""
    return Point(
        point.what,
        point.concurrency,
        point.prompt_tokens,
        point.predicted(COST) if seconds is None else seconds,
        point.counts,
    )


POINTS = [made(first_token(prompt, 1.0)) for prompt in (16, 64, 256, 1024)] + [
    made(gap(at_once, prompt, 32, 1.0)) for at_once in (1, 4, 16, 32) for prompt in (32, 512)
]


def test_the_costs_are_found_again() -> None:
    assert fit(POINTS) == pytest.approx(COST)


def test_no_cost_is_negative() -> None:
    falling = [made(first_token(prompt, 1.0), 1 / prompt) for prompt in (16, 64, 256)] + POINTS[4:6]
    assert min(fit(falling)) >= 0


def test_a_first_token_needs_no_decoding_and_a_gap_no_prefill() -> None:
    assert dict(zip(COSTS, first_token(10, 1.0).counts, strict=True)) == {
        "request": 1,
        "step": 1,
        "prefill_token": 10,
        "decode": 0,
        "attended": 50,
    }
    assert dict(zip(COSTS, gap(4, 30, 20, 1.0).counts, strict=True)) == {
        "request": 0,
        "step": 1,
        "prefill_token": 0,
        "decode": 4,
        "attended": 160,
    }


def test_a_profile_is_written_as_the_table_of_profiles_has_it() -> None:
    assert profile_text(COST, {"num_blocks": 182}) == (
        "Profile(request=0.004, step=0.03, prefill_token=0.002, decode=0.0025, attended=1.5e-06, num_blocks=182)"
    )


def test_the_table_has_measured_and_fitted_beside_each_other() -> None:
    assert table([made(first_token(100, 1.0), 0.5)], COST).splitlines()[-1] == (
        "| ttft | 1 | 100 | 500.0 | 241.5 | -51.7% |"
    )


def test_the_measured_profile_is_what_fits_its_measurement_and_the_page_shows_both() -> None:
    measured = json.loads((ROOT / "docs/simulator/smollm2-135m-cpu.json").read_text())
    points = [Point(**each) for each in measured["points"]]
    costs = fit(points)
    known = PROFILES["smollm2-135m-cpu"]
    assert [getattr(known, name) for name in COSTS] == pytest.approx(costs, rel=0.01)
    assert table(points, costs) in (ROOT / "docs/simulator.md").read_text("utf-8")
