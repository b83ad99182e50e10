"""A replica that says that it is full is passed over for a moment."""

from __future__ import annotations

import pytest

from gateway.pools.full import FullReplicas
from tests.gateway.pools.made import replica


@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 1.0), (3.0, 3.0), (600.0, 10.0)])
def test_a_replica_is_passed_over_for_as_long_as_it_says_but_not_for_long(
    retry_after: float | None, seconds: float
) -> None:
    full, other = replica("a"), replica("b")
    made = FullReplicas()
    made.add(full, 100.0, retry_after)
    assert repr(made) == "<FullReplicas ['a']>"
    assert not made.has_room(full, 99.9 + seconds)
    assert made.left_out([full, other], 99.9 + seconds) == [other]
    assert made.has_room(full, 100.0 + seconds)
    assert made.left_out([full, other], 100.0 + seconds) == [full, other]


def test_where_all_are_full_none_is_passed_over() -> None:
    only = replica("a")
    made = FullReplicas()
    made.add(only, 100.0, None)
    assert made.left_out([only], 100.5) == [only]


def test_one_that_has_gone_is_forgotten() -> None:
    gone, left = replica("a"), replica("b")
    made = FullReplicas()
    made.add(gone, 100.0, None)
    made.add(left, 100.0, None)
    made.retain({left})
    assert (made.has_room(gone, 100.5), made.has_room(left, 100.5)) == (True, False)
