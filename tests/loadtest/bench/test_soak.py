"""What is concluded from a spike, and that the streams are watched to their end."""

import pytest

from loadtest.bench.soak import SoakSettings, measure, spike_summary
from loadtest.record import Record


def answered(moment: float, seconds: float) -> tuple[float, Record]:
    return moment, Record(moment, sent=moment, last=moment + seconds, status=200)


def refused(moment: float, status: int = 503) -> tuple[float, Record]:
    return moment, Record(moment, sent=moment, status=status, error=f"status {status}")


def every(seconds: float, start: float, end: float, lasts: float) -> list[tuple[float, Record]]:
    return [answered(start + number * seconds, lasts) for number in range(round((end - start) / seconds))]


def test_latency_is_back_when_no_later_window_is_slow() -> None:
    records = every(0.1, 0, 5, 0.05) + every(0.1, 5, 15, 0.9) + every(0.1, 15, 17, 0.5) + every(0.1, 17, 20, 0.06)
    found = spike_summary(records, calm=5, rush=10)
    assert found["before_p99_ms"] == pytest.approx(50)
    assert found["rush_p99_ms"] == pytest.approx(900)
    assert found["after_p99_ms"] == pytest.approx([500] * 4 + [60] * 6)
    assert found["recovered_after_seconds"] == 2.0


def test_without_a_slow_window_it_was_back_at_once() -> None:
    found = spike_summary(every(0.1, 0, 20, 0.05), calm=5, rush=10)
    assert (found["recovered_after_seconds"], found["failed"], found["refused"]) == (0.0, 0, 0)


def test_refusals_in_the_rush_are_expected_and_later_ones_are_no_recovery() -> None:
    found = spike_summary([*every(0.1, 0, 20, 0.05), refused(7), refused(16.2)], calm=5, rush=10)
    assert (found["refused"], found["failed"], found["recovered_after_seconds"]) == (2, 0, 1.5)


@pytest.mark.parametrize("failure", [refused(2), refused(7, 502)], ids=["before the rush", "another status"])
def test_anything_else_is_a_failure(failure: tuple[float, Record]) -> None:
    found = spike_summary([*every(0.1, 0, 20, 0.05), failure], calm=5, rush=10)
    assert found["failed"] == 1
    assert found["failure"].startswith("status")


@pytest.mark.slow
async def test_streams_and_a_spike_are_measured() -> None:
    settings = SoakSettings(
        streams=5,
        pace=0.02,
        seconds=1.0,
        segment=0.2,
        direct_seconds=0.2,
        slots=2,
        rate=20,
        spike_rate=100,
        spike_seconds=0.5,
        around_seconds=0.5,
    )
    found = await measure(settings, lambda _what: None)
    streams = found["streams"]
    assert (streams["complete"], streams["events"], streams["lost"], streams["repeated"]) == (5, 250, 0, 0)
    assert found["failed"] == 0
    assert streams["lag"]["ticks"] > 0
    assert all(each["p99_us"] > 0 for each in (streams["direct"], *streams["through"].values()))
    assert found["spike"]["requests"] > 30
