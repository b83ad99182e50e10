"""Values keep their order and distances, and ticks are round numbers around them."""

from collections.abc import Callable

import pytest

from loadtest.svg.axis import Axis, is_spread


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 9.0, [0, 2, 4, 6, 8, 10]),
        (101.0, 109.0, [100, 102, 104, 106, 108, 110]),
        (1.0, 100.0, [0, 20, 40, 60, 80, 100]),
    ],
)
def test_a_linear_axis_begins_at_zero_unless_all_values_are_far_from_it(
    low: float, high: float, ticks: list[float]
) -> None:
    axis = Axis.linear(low, high, 0.0, 100.0)
    assert axis.ticks == ticks
    assert (axis.place(ticks[0]), axis.place(ticks[-1])) == (0.0, 100.0)
    assert axis.place((ticks[0] + ticks[-1]) / 2) == 50.0


def test_a_logarithmic_axis_gives_each_tenfold_the_same_room() -> None:
    axis = Axis.log(1.0, 10_000.0, 0.0, 400.0)
    assert axis.ticks == [1, 10, 100, 1000, 10_000]
    assert [axis.place(each) for each in axis.ticks] == [0, 100, 200, 300, 400]
    assert Axis.log(3.0, 60.0, 0.0, 1.0).ticks == [2, 5, 10, 20, 50]


@pytest.mark.parametrize("make", [Axis.linear, Axis.log])
def test_a_single_value_has_a_place(make: Callable[[float, float, float, float], Axis]) -> None:
    axis = make(7.0, 7.0, 0.0, 100.0)
    assert 0.0 <= axis.place(7.0) <= 100.0


@pytest.mark.parametrize(
    ("values", "spread"), [([1, 2, 3], False), ([1, 1, 1, 30], True), ([0, 1, 30], False), ([5], False)]
)
def test_values_are_spread_if_the_largest_dwarfs_the_median(values: list[float], spread: bool) -> None:
    assert is_spread(values) is spread
