"""A tenant's virtual time goes on with what it is served, in a memory that does not grow with the tenants."""

from __future__ import annotations

from gateway.pools.virtual_time import TAGS, VirtualTime


def test_a_tenants_next_request_starts_where_its_last_one_has_finished() -> None:
    time = VirtualTime()
    time.serve("a", time.start("a"), 100)
    assert (time.start("a"), time.start("b"), time.now) == (100, 0, 0)
    time.serve("a", time.start("a"), 50)
    assert (time.start("a"), time.start("b")) == (150, 100)
    assert repr(time) == "<VirtualTime [100 tokens]>"


def test_what_a_tenant_did_not_use_is_not_kept_for_it() -> None:
    time = VirtualTime()
    time.serve("a", 5_000, 1)
    assert time.start("idle") == 5_000


def test_tenants_without_number_share_a_fixed_number_of_tags_and_let_time_go_on() -> None:
    tags = [0] * TAGS
    time = VirtualTime(tags)
    for number in range(2_000):
        tenant = f"{number}"
        time.serve(tenant, time.start(tenant), 10)
    assert len(tags) == TAGS
    assert time.now >= 10


def test_a_tenant_of_any_name_has_a_place() -> None:
    time = VirtualTime()
    for tenant in ("", "x" * 10_000, "\ud800", "日本"):
        time.serve(tenant, time.start(tenant), 1)
        assert time.start(tenant) >= 1


def test_two_tenants_are_seldom_taken_for_one() -> None:
    time = VirtualTime()
    time.serve("heavy", 0, 1_000_000)
    assert sum(time.start(f"t{number}") > 0 for number in range(1_000)) < 5
