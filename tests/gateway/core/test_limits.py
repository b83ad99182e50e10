"""A request is admitted if it fits under all limits of its key and of its group, and counts in all or in none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import LimitExceeded
from gateway.core.limits import KeyLimits, LocalUsage, Quota, Rate, duration
from gateway.core.sliding_window import NANOSECONDS

NOW = 1_000 * NANOSECONDS
MINUTE = 60 * NANOSECONDS


def quota(usage: LocalUsage, owner: str, *, max_in_flight: int | None = None, **limits: int) -> Quota:
    rates = [Rate(name, limit, usage.window(owner, name)) for name, limit in limits.items()]
    return Quota(owner, rates, max_in_flight, usage.in_flight(owner) if max_in_flight else None)


def limits_of(*quotas: Quota) -> KeyLimits:
    return KeyLimits(quotas, LocalUsage().lock("team"))


def left(limits: KeyLimits, now: int = NOW) -> dict[str, int]:
    return {rate.name: number for number, rate in limits.left(now)}


def test_the_message_says_which_limit_how_much_is_used_and_when_to_come_again() -> None:
    limits = limits_of(quota(LocalUsage(), "key 'alice'", requests_per_minute=2))
    for _ in range(2):
        limits.admit(1, 1, NOW)
    with pytest.raises(LimitExceeded) as refused:
        limits.admit(1, 1, NOW + 15 * NANOSECONDS)
    error = refused.value
    assert error.message == (
        "Rate limit reached for key 'alice' on requests per minute: Limit 2, Used 2, Requested 1. "
        "Please try again in 45s."
    )
    assert (error.status, error.kind, error.code, error.reason) == (
        429,
        "requests",
        "rate_limit_exceeded",
        "requests_per_minute",
    )
    assert error.retry_after == 45.0


def test_a_request_that_is_larger_than_the_limit_is_told_not_to_come_again() -> None:
    limits = limits_of(quota(LocalUsage(), "group 'team'", tokens_per_minute=100))
    with pytest.raises(LimitExceeded) as refused:
        limits.admit(90, 20, NOW)
    error = refused.value
    assert error.message == (
        "The request is too large for group 'team' on tokens per minute: Limit 100, Used 0, Requested 110. "
        "Ask for fewer tokens."
    )
    assert (error.kind, error.retry_after, error.headers) == ("tokens", None, b"x-should-retry: false\r\n")


def test_a_refused_request_counts_nowhere() -> None:
    usage = LocalUsage()
    own = quota(usage, "key 'alice'", max_in_flight=5, requests_per_minute=10, tokens_per_day=1000)
    group = quota(usage, "group 'team'", requests_per_minute=1)
    limits = limits_of(own, group)
    limits.admit(10, 10, NOW)
    before, in_flight = left(limits), own.in_flight
    with pytest.raises(LimitExceeded, match="group 'team' on requests per minute"):
        limits.admit(10, 10, NOW)
    assert (left(limits), own.in_flight) == (before, in_flight)


def test_keys_of_a_group_share_its_limits_and_keep_their_own() -> None:
    usage = LocalUsage()
    group = quota(usage, "group 'team'", requests_per_minute=3)
    alice = limits_of(quota(usage, "key 'alice'", requests_per_minute=2), group)
    bob = limits_of(group)
    alice.admit(0, 0, NOW)
    alice.admit(0, 0, NOW)
    with pytest.raises(LimitExceeded, match="key 'alice'"):
        alice.admit(0, 0, NOW)
    bob.admit(0, 0, NOW)
    with pytest.raises(LimitExceeded, match="group 'team'"):
        bob.admit(0, 0, NOW)


def test_requests_at_once_are_counted_out_once() -> None:
    limited = quota(LocalUsage(), "key 'alice'", max_in_flight=1)
    limits = limits_of(limited)
    reservation, *_ = limits.admit(0, 0, NOW)
    with pytest.raises(LimitExceeded, match="on requests at once: Limit 1, Used 1") as refused:
        limits.admit(0, 0, NOW)
    assert (refused.value.reason, refused.value.retry_after) == ("max_in_flight", 1.0)
    for _ in range(2):
        limits.settle(reservation, 0, NOW)
    assert limited.in_flight == 0
    limits.admit(0, 0, NOW)
    assert limited.in_flight == 1


def test_tokens_are_settled_by_what_was_used_once() -> None:
    limits = limits_of(quota(LocalUsage(), "key 'alice'", tokens_per_minute=1000, tokens_per_day=5000))
    reservation, *_ = limits.admit(100, 400, NOW)
    assert left(limits) == {"tokens_per_minute": 500, "tokens_per_day": 4500}
    for _ in range(2):
        limits.settle(reservation, 120, NOW)
    assert left(limits) == {"tokens_per_minute": 880, "tokens_per_day": 4880}


def test_a_request_that_began_before_a_reload_is_counted_out_after_it() -> None:
    usage = LocalUsage()
    before = limits_of(quota(usage, "key 'alice'", max_in_flight=3, tokens_per_minute=1000))
    reservation, *_ = before.admit(0, 500, NOW)
    after_reload = quota(usage, "key 'alice'", max_in_flight=1, tokens_per_minute=600)
    limits = limits_of(after_reload)
    assert (left(limits), after_reload.in_flight) == ({"tokens_per_minute": 100}, 1)
    limits.settle(reservation, 50, NOW)
    assert (left(limits), after_reload.in_flight) == ({"tokens_per_minute": 550}, 0)


def test_usage_of_one_owner_is_forgotten_at_a_command() -> None:
    usage = LocalUsage()
    limits = limits_of(
        quota(usage, "key 'alice'", requests_per_minute=5), quota(usage, "group 'team'", requests_per_day=5)
    )
    limits.admit(0, 0, NOW)
    limits.clear("key 'alice'")
    assert left(limits) == {"requests_per_minute": 5, "requests_per_day": 4}


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 400), st.integers(0, 90)), max_size=40))
def test_what_is_used_and_settled_is_never_beyond_the_limit_unless_the_estimate_was_too_low(
    asked: list[tuple[int, int, int]],
) -> None:
    limits, now = limits_of(quota(LocalUsage(), "key 'alice'", tokens_per_minute=1000)), NOW
    for estimate, real, seconds in asked:
        now += seconds * NANOSECONDS
        with suppress(LimitExceeded):
            limits.settle(limits.admit(estimate, 0, now)[0], min(real, estimate), now)
        assert 0 <= left(limits, now)["tokens_per_minute"] <= 1000


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (0.0123, "13ms"), (0.9999, "1s"), (1, "1s"), (59.5, "1m0s"), (360, "6m0s"), (86_399, "23h59m59s")],
)
def test_times_are_written_as_openai_writes_them(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_what_is_shared_with_other_nodes_is_used_on_trust_at_first_and_then_only_as_it_is_leased() -> None:
    usage = LocalUsage()
    usage.sharing[0] = 2
    lease = usage.lease("key 'alice'", "requests_per_minute")
    rate = Rate("requests_per_minute", 4, usage.window("key 'alice'", "requests_per_minute"), lease)
    limits = limits_of(Quota("key 'alice'", [rate]))
    limits.admit(0, 0, NOW)
    limits.admit(0, 0, NOW)
    with pytest.raises(LimitExceeded, match=r"Limit 4, Used 2, Requested 1\. Please try again in 200ms\."):
        limits.admit(0, 0, NOW)
    assert (lease.credit[0], lease.short[0], left(limits)) == (-2, 1, {"requests_per_minute": 2})
    lease.credit[0] += 3
    limits.admit(0, 0, NOW)
    assert lease.credit[0] == 0


def test_what_was_reserved_and_not_used_goes_back_to_the_lease() -> None:
    usage = LocalUsage()
    lease = usage.lease("key 'alice'", "tokens_per_minute")
    rate = Rate("tokens_per_minute", 1000, usage.window("key 'alice'", "tokens_per_minute"), lease)
    limits = limits_of(Quota("key 'alice'", [rate]))
    early, *_ = limits.admit(0, 300, NOW)
    late, *_ = limits.admit(0, 300, NOW)
    limits.settle(early, 100, NOW)
    assert (lease.credit[0], lease.late[0]) == (-400, 0)
    limits.settle(late, 100, NOW + MINUTE)
    assert (lease.credit[0], lease.late[0]) == (-400, -200)
    limits.clear("key 'alice'")
    assert (lease.credit[0], lease.late[0], left(limits)) == (0, 0, {"tokens_per_minute": 1000})
