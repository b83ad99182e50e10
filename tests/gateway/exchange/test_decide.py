"""What follows a failed attempt."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.exchange.decide import MAX_ATTEMPTS, Next, decide, says_no_more_than_try_elsewhere
from gateway.http.response_head import ResponseHead

FLAGS = (False, True)


def test_a_stale_connection_is_replaced_by_a_new_one_to_the_same_replica() -> None:
    for retry, others, rival in product(FLAGS, FLAGS, FLAGS):
        assert decide(stale=True, retry=retry, asked=0, others=others, rival=rival) is Next.RECONNECT


def test_a_rival_under_way_is_waited_for() -> None:
    for retry, others, asked in product(FLAGS, FLAGS, range(MAX_ATTEMPTS + 1)):
        assert decide(stale=False, retry=retry, asked=asked, others=others, rival=True) is Next.WAIT


def test_another_replica_is_asked_if_it_may_do_better_and_there_is_one() -> None:
    assert decide(stale=False, retry=True, asked=1, others=True, rival=False) is Next.RETRY


@pytest.mark.parametrize(("retry", "asked", "others"), [(False, 1, True), (True, 1, False), (True, MAX_ATTEMPTS, True)])
def test_otherwise_the_client_is_told(retry: bool, asked: int, others: bool) -> None:
    assert decide(stale=False, retry=retry, asked=asked, others=others, rival=False) is Next.FAIL


@pytest.mark.parametrize(("status", "expected"), [(200, False), (400, False), (404, False), (429, True), (500, True)])
def test_which_responses_another_replica_may_better(status: int, expected: bool) -> None:
    assert says_no_more_than_try_elsewhere(ResponseHead.read(status, [])) is expected
