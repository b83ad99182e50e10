"""Arrivals are drawn beforehand, and the same seed draws the same ones."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from loadtest import arrivals


def test_poisson_arrivals_have_exactly_their_rate_and_gaps_as_long_as_they_are_uneven() -> None:
    moments = arrivals.poisson(50.0, 200.0, seed=1)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(moments) == 10_000
    assert pstdev(gaps) == pytest.approx(fmean(gaps), rel=0.05)  # The mark of the exponential distribution.
    assert all(gap >= 0 for gap in gaps)
    assert moments[-1] < 200.0


def test_a_seed_decides_all() -> None:
    assert arrivals.poisson(10.0, 5.0, seed=3) == arrivals.poisson(10.0, 5.0, seed=3)
    assert arrivals.poisson(10.0, 5.0, seed=3) != arrivals.poisson(10.0, 5.0, seed=4)


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert arrivals.constant(4.0, 1.5) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_recorded_arrivals_begin_at_once_and_are_stretched() -> None:
    assert arrivals.rescaled([10.0, 11.0, 13.0], 0.5) == [0.0, 0.5, 1.5]
