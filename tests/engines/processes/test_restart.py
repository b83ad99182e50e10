"""An engine that keeps failing is started less and less often, and one that was healthy for long at once."""

from __future__ import annotations

import pytest

from engines.processes.restart import RestartPolicy, with_next_try


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (10**6, 30)]
)
def test_the_pause_doubles_up_to_the_longest(failures: int, seconds: float) -> None:
    assert RestartPolicy().pause(failures) == seconds


def test_a_first_pause_beyond_the_longest_is_cut() -> None:
    assert RestartPolicy(first=60).pause(1) == 30


@pytest.mark.parametrize(("before", "served", "after"), [(0, 0, 1), (1, 0, 2), (4, 60, 5), (4, 60.1, 1), (0, 61, 1)])
def test_a_row_of_failures_ends_with_a_run_that_was_healthy_for_long(before: int, served: float, after: int) -> None:
    assert RestartPolicy().failures(before, served) == after


def test_the_next_try_is_told_behind_what_a_process_has_said_and_not_as_its_words() -> None:
    assert with_next_try("It said nothing.", 2.0) == "It said nothing. Next try in 2 s."
    assert with_next_try("Its last words:\nno memory", 0.5) == "Its last words:\nno memory\nNext try in 0.5 s."
