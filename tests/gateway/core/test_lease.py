"""What a node may use of a limit that others use too, before it has asked them."""

from __future__ import annotations

from gateway.core.lease import Lease


def lease(*, nodes: int, credit: int = 0) -> Lease:
    return Lease([nodes], [credit], [0], [0], [0])


def test_a_node_that_counts_by_itself_needs_no_lease() -> None:
    assert lease(nodes=0).covers(1, used=99, limit=100)


def test_each_of_two_nodes_uses_half_on_trust_and_what_it_was_leased() -> None:
    assert lease(nodes=2).covers(5, used=49, limit=100)
    assert not lease(nodes=2).covers(5, used=50, limit=100)
    assert not lease(nodes=2, credit=4).covers(5, used=50, limit=100)
    assert lease(nodes=2, credit=5).covers(5, used=50, limit=100)


def test_a_limit_of_one_can_be_used() -> None:
    assert lease(nodes=3).covers(1, used=0, limit=1)


def test_what_was_estimated_too_high_can_be_used_again() -> None:
    held = lease(nodes=2, credit=100)
    held.use(80)
    held.settle(-50, in_current=True)
    held.settle(-7, in_current=False)
    assert (held.credit[0], held.late[0], repr(held)) == (70, -7, "<Lease [70 left]>")


def test_what_is_cleared_holds_and_owes_nothing() -> None:
    held = lease(nodes=2)
    held.use(3)
    held.refused(4)
    held.settle(9, in_current=False)
    held.clear()
    assert (held.credit[0], held.short[0], held.late[0]) == (0, 0, 0)
