"""Numbers on command lines are checked, and what was expected is said."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from loadtest.option_values import count, integer, positive


def test_numbers_are_read() -> None:
    assert (positive("0.5"), integer("-3"), count("1")) == (0.5, -3, 1)


@pytest.mark.parametrize(
    ("read", "given", "said"),
    [
        (positive, "x", "'x' is not a positive number"),
        (positive, "0", "0 is not a positive number"),
        (positive, "nan", "nan is not a positive number"),
        (positive, "inf", "inf is not a positive number"),
        (integer, "1.5", "'1.5' is not a whole number"),
        (count, "0", "0 is not a number of at least 1"),
    ],
)
def test_what_is_no_such_number_is_said(read: Callable[[str], float], given: str, said: str) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        read(given)
    assert str(caught.value) == said
