"""Demand is averaged over seconds, and its peaks are remembered for a window."""

from __future__ import annotations

from gateway.scaling.demand import DemandHistory, slots_needed


def test_the_mean_is_of_the_last_three_seconds() -> None:
    history = DemandHistory()
    for second, demand in enumerate((30, 3, 6, 9)):
        history.record(float(second), demand, 60.0)
    assert history.recent == 6.0
    history.record(100.0, 1, 60.0)
    assert history.recent == 1.0


def test_after_fractions_nothing_is_nothing() -> None:
    history = DemandHistory()
    for tick in range(100):
        history.record(tick / 10, 0.01 * (tick % 7) if tick < 60 else 0.0, 60.0)
    assert history.recent == 0.0


def test_the_peak_is_the_highest_mean_of_the_window() -> None:
    history = DemandHistory()
    peaks = []
    for second in range(0, 60, 4):
        history.record(float(second), {8: 9.0, 20: 5.0}.get(second, 1.0), 20.0)
        peaks.append(history.peak)
    assert peaks == [1, 1, 9, 9, 9, 9, 9, 9, 5, 5, 5, 1, 1, 1, 1]


def test_memory_does_not_grow_with_time() -> None:
    history = DemandHistory()
    for tick in range(20_000):
        history.record(tick / 10, tick % 7, 60.0)
        history.served(tick / 10, 1, tick)
    assert len(history._readings) <= 31
    assert len(history._peaks) <= 601
    assert len(history._work) <= 602


def test_idleness_counts_from_the_last_request() -> None:
    history = DemandHistory()
    history.record(5.0, 0.0, 60.0)
    assert history.busy_at == 5.0
    history.record(6.0, 1.0, 60.0)
    history.record(9.0, 0.0, 60.0)
    assert history.busy_at == 6.0


def test_time_in_service_follows_from_what_runs_and_what_is_answered() -> None:
    history = DemandHistory()
    assert history.service_time is None
    for second in range(11):
        history.served(float(second), 4, second * 2)
    assert history.service_time == 2.0


def test_without_answers_nothing_is_known_of_it() -> None:
    history = DemandHistory()
    history.served(0.0, 1, 7)
    history.served(9.0, 1, 7)
    assert history.service_time is None


def test_arrivals_are_those_that_were_answered_and_those_that_are_here() -> None:
    history = DemandHistory()
    assert history.arrival_rate == 0.0
    for second in range(11):
        history.take(float(second), running=4, waiting=second, answers=second * 2, window=60.0)
    assert history.arrival_rate == 3.0
    for second in range(11, 100):
        history.take(float(second), running=0, waiting=0, answers=20, window=60.0)
    assert history.arrival_rate == 0.0


def test_reprs_tell_the_demand() -> None:
    history = DemandHistory()
    history.record(0.0, 4, 60.0)
    history.record(4.0, 2, 60.0)
    assert repr(history) == "<DemandHistory [2.0 now, 4.0 at most]>"


def test_requests_that_wait_need_a_slot_only_for_as_long_as_they_take() -> None:
    assert slots_needed(3, 10, None) == 13
    assert slots_needed(3, 10, 30.0) == 13
    assert slots_needed(3, 10, 1.0) == 4


def test_one_that_waits_needs_something_however_short_those_before_it_were() -> None:
    history = DemandHistory()
    for tick in range(20):
        history.take(tick / 10, running=0, waiting=tick // 19, answers=tick // 2, window=60.0)
    assert history.service_time == 0.0
    assert 0 < history.needed < 1
