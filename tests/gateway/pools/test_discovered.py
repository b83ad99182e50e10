"""What is known of a source of replicas."""

from __future__ import annotations

from time import perf_counter

from gateway.pools.discovered import Discovered


def test_the_age_is_the_time_since_it_answered_last() -> None:
    now = perf_counter()
    discovered = Discovered("file a", succeeded_at=now - 5.0)
    assert 5.0 <= discovered.age() <= perf_counter() - now + 5.0
    # Another thread may read it while it is written.
    assert Discovered("file a", succeeded_at=now + 9.0).age() == 0.0
