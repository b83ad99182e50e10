"""Which answers count, and when the others are asked for again."""

from __future__ import annotations

import pytest

from gateway.batches.verdict import MOST_FAILURES, Verdict, pause, verdict
from gateway.core.errors import LimitExceeded


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 413, 422, 501])
def test_an_answer_to_the_line_itself_counts(status: int) -> None:
    assert verdict(status, None, 0) is Verdict.COUNTS


@pytest.mark.parametrize("status", [429, 503, 529])
def test_what_is_full_says_nothing_of_the_line(status: int) -> None:
    assert verdict(status, None, 1000) is Verdict.FULL


def test_a_limit_that_the_line_alone_exceeds_counts_and_one_that_passes_does_not() -> None:
    passes = LimitExceeded("x", reason="tokens", kind="tokens", retry_after=3.0)
    never = LimitExceeded("x", reason="tokens", kind="tokens", retry_after=None)
    assert verdict(429, passes, 0) is Verdict.FULL
    assert verdict(429, never, 0) is Verdict.COUNTS


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_line_whose_engine_fails_is_asked_again_a_few_times(status: int) -> None:
    assert verdict(status, None, 0) is Verdict.FAILED
    assert verdict(status, None, MOST_FAILURES - 2) is Verdict.FAILED
    assert verdict(status, None, MOST_FAILURES - 1) is Verdict.COUNTS


def test_pauses_grow_up_to_a_minute_and_are_as_long_as_was_said() -> None:
    assert [pause(times) for times in (1, 2, 3, 7, 100)] == [1.0, 2.0, 4.0, 60.0, 60.0]
    assert pause(1, retry_after=90.0) == 90.0
