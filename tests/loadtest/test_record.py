"""A record tells the times of one request as the field defines them."""

from __future__ import annotations

import pytest

from loadtest.record import Record


def test_the_times_of_a_stream() -> None:
    record = Record(1.0, sent=1.5, first=2.0, last=4.0, tokens_out=5)
    assert (record.lateness, record.ttft, record.e2e, record.tpot) == (0.5, 0.5, 2.5, 0.5)
    assert record.succeeded


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_single_token_has_no_time_per_token(tokens: int) -> None:
    assert Record(0.0, sent=0.0, first=1.0, last=1.0, tokens_out=tokens).tpot is None


def test_what_never_came_has_no_time() -> None:
    record = Record(0.0)
    assert (record.lateness, record.ttft, record.e2e, record.tpot) == (0.0, None, None, None)
    assert not record.succeeded


def test_neither_a_failure_nor_a_client_that_left_is_a_success() -> None:
    assert not Record(0.0, sent=0.0, last=1.0, error="status 500").succeeded
    assert not Record(0.0, sent=0.0, last=1.0, left=True).succeeded
