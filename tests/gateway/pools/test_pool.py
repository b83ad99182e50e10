"""A pool picks among its ready replicas, and says why there are none."""

from __future__ import annotations

import pytest

from gateway.core.errors import NoReadyReplica
from gateway.pools.pool import Load
from gateway.pools.registry import Registry
from tests.gateway.pools.made import pool, replica
from tests.kit.waiters import Waiter


def test_reprs_tell_the_truth() -> None:
    busy, starting = replica("a"), replica("b", ready=False)
    busy.in_flight = 3
    made = pool("m", busy, starting)
    assert repr(busy) == "<Replica 'a' unix:/run/a.sock [ready; 3 in flight]>"
    assert repr(starting) == "<Replica 'b' unix:/run/b.sock [starting; 0 in flight]>"
    assert repr(made) == "<Pool 'm' [1 ready, 1 not; 3 in flight, 0 queued]>"
    assert repr(Registry([made])) == f"<Registry [{made!r}]>"


def test_only_ready_replicas_are_picked() -> None:
    first, second = replica("a"), replica("b", ready=False)
    made = pool("m", first, second)
    assert {made.pick().name for _ in range(4)} == {"a"}
    second.set_ready(ready=True, state="ready")
    assert {made.pick().name for _ in range(4)} == {"a", "b"}
    first.set_ready(ready=False, state="draining")
    assert {made.pick().name for _ in range(4)} == {"b"}


def test_what_was_tried_is_not_picked_again() -> None:
    first, second = replica("a"), replica("b")
    made = pool("m", first, second)
    assert made.pick((first,)) is second
    with pytest.raises(NoReadyReplica):
        made.pick((first, second))


@pytest.mark.parametrize(
    ("state", "retry_after"), [("starting", 2.0), ("fetching", 2.0), ("restarting", 2.0), ("failed", 5.0)]
)
def test_a_pool_without_ready_replicas_says_why_and_when_to_come_again(state: str, retry_after: float) -> None:
    down = replica("a")
    made = pool("m", down)
    down.set_ready(ready=False, state=state)
    with pytest.raises(NoReadyReplica, match=rf"'m' has no ready replica \({state}\)") as refused:
        made.pick()
    assert refused.value.retry_after == retry_after


def test_a_pool_may_have_no_replica_at_all() -> None:
    with pytest.raises(NoReadyReplica, match=r"\(absent\)"):
        pool("m").pick()


def test_a_pool_tells_its_load() -> None:
    made = pool("m", replica("a"))
    assert made.load(0.0) == Load(0, 0, 0.0, 0)
    made.admission.admit(Waiter())
    made.tokens_in_flight = 5
    assert made.load(0.0) == Load(1, 0, 0.0, 5)
    assert made.load(0.0).saturation(8) == 0.125
    assert made.load(0.0).saturation(None) == 0.0
