"""What follows a failed attempt."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.core.engine_error import from_response
from gateway.core.errors import GatewayError, Unavailable, UpstreamFailed
from gateway.exchange.decide import MAX_ATTEMPTS, Failure, Next, decide, says_no_more_than_try_elsewhere
from gateway.http.response_head import ResponseHead

FLAGS = (False, True)

# What must hold for another replica to be asked, one row for each rule that says no.
RETRIED = {"asked": 1, "retry": True, "others": True, "rival": False, "repeated": False, "affordable": True}


@pytest.mark.parametrize(
    ("but", "follows"),
    [
        ({}, Next.RETRY),
        ({"asked": MAX_ATTEMPTS - 1}, Next.RETRY),
        ({"asked": MAX_ATTEMPTS}, Next.FAIL),
        ({"retry": False}, Next.FAIL),
        ({"others": False}, Next.FAIL),
        ({"repeated": True}, Next.FAIL),
        ({"affordable": False}, Next.OVER_BUDGET),
        ({"affordable": False, "repeated": True}, Next.FAIL),
        ({"affordable": False, "others": False}, Next.FAIL),
        ({"rival": True}, Next.WAIT),
        ({"rival": True, "affordable": False}, Next.WAIT),
        ({"stale": True}, Next.RECONNECT),
        ({"stale": True, "retry": False, "affordable": False}, Next.RECONNECT),
        ({"stale": True, "asked": MAX_ATTEMPTS}, Next.FAIL),
        ({"returns": True}, Next.RETRY),
        ({"returns": True, "others": False}, Next.HOLD),
        ({"returns": True, "others": False, "affordable": False}, Next.HOLD),
        ({"returns": True, "asked": MAX_ATTEMPTS}, Next.HOLD),
        ({"returns": True, "others": False, "retry": False}, Next.FAIL),
        ({"returns": True, "others": False, "repeated": True}, Next.FAIL),
        ({"returns": True, "others": False, "rival": True}, Next.WAIT),
    ],
)
def test_what_follows_a_failed_attempt(but: dict[str, bool | int], follows: Next) -> None:
    assert decide(**(RETRIED | but)) is follows  # type: ignore[arg-type]


def test_a_rival_under_way_is_waited_for_whatever_else_holds() -> None:
    for retry, others, repeated, affordable in product(FLAGS, FLAGS, FLAGS, FLAGS):
        follows = decide(asked=1, retry=retry, others=others, rival=True, repeated=repeated, affordable=affordable)
        assert follows is Next.WAIT


@pytest.mark.parametrize(
    ("error", "reached", "idempotent", "expected"),
    [
        (UpstreamFailed("Lost."), True, True, True),
        (UpstreamFailed("Lost."), True, False, False),
        (UpstreamFailed("Refused."), False, False, True),
        (from_response(503, b"{}"), False, False, True),
        (from_response(500, b"{}"), True, True, True),
        (from_response(500, b"{}"), True, False, False),
        (from_response(400, b"{}"), True, True, False),
        (from_response(401, b"{}"), True, True, False),
        (from_response(429, b"{}"), False, False, True),
    ],
)
def test_which_failures_another_replica_may_better(
    error: GatewayError, reached: bool, idempotent: bool, expected: bool
) -> None:
    assert Failure(error, reached).may_be_retried(idempotent=idempotent) is expected


def died(message: str, *, reached: bool = True) -> Failure:
    return Failure(UpstreamFailed(message), reached)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (died("Process 17 died at 0xff."), died("process 4 died at 0x0a."), True),
        (died("Out of memory."), died("Connection lost."), False),
        (died("Out of memory."), Failure(from_response(500, b"Out of memory."), True), True),
        (died("Lost."), Failure(Unavailable("Lost."), True), False),
        (died("Refused."), died("Refused.", reached=False), False),
        (died("Refused.", reached=False), died("Refused.", reached=False), False),
    ],
)
def test_when_two_replicas_have_failed_alike(first: Failure, second: Failure, expected: bool) -> None:
    assert second.has_cause_of(first) is expected


@pytest.mark.parametrize(("status", "expected"), [(200, False), (400, False), (404, False), (429, True), (500, True)])
def test_which_responses_another_replica_may_better(status: int, expected: bool) -> None:
    assert says_no_more_than_try_elsewhere(ResponseHead.read(status, [])) is expected


@pytest.mark.parametrize(("status", "reached"), [(500, True), (502, True), (503, False), (504, True), (529, False)])
def test_an_engine_that_is_full_has_not_begun_to_work_on_the_request(status: int, reached: bool) -> None:
    assert Failure.told_by(from_response(status, b"{}")).reached is reached
