"""A ramp finds the highest rate that meets the objectives, and says why the next one does not."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest import ramp
from loadtest.ramp import Search, Step
from loadtest.record import Record
from loadtest.summary import summarise

SLOS = {"ttft": 200.0}


def answer(ttft: float, *, planned: float = 0.0, late: float = 0.0) -> Record:
    sent = planned + late
    return Record(planned, sent=sent, first=sent + ttft, last=sent + ttft + 0.1, tokens_out=3, ended=sent + ttft + 0.1)


def judged(records: list[Record], slos: dict[str, float] | None = None, attainment: float = 0.9) -> str | None:
    slos = slos or SLOS
    return ramp.judge(records, summarise(records, slos=slos), slos, attainment)


def step(rate: float, reason: str | None) -> Step:
    records = [answer(0.1)]
    return Step(rate, 10.0, records, summarise(records, slos=SLOS), reason)


def searched(knee: float, start: float) -> list[float]:
    search = Search(start)
    tried = []
    while search.rate is not None:
        tried.append(search.rate)
        search.note(met=search.rate <= knee)
    return tried


def test_rates_are_doubled_and_then_halved_between_until_a_tenth_is_left() -> None:
    assert searched(knee=5.3, start=1.0) == [1.0, 2.0, 4.0, 8.0, 6.0, 5.0, 5.5]


def test_a_start_that_is_too_high_is_halved() -> None:
    assert searched(knee=0.3, start=1.0) == [1.0, 0.5, 0.25, 0.375, 0.3125, 0.28125, 0.296875]
    assert searched(knee=0.0, start=1.0) == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_steps_are_long_enough_to_mean_something() -> None:
    assert ramp.length(rate=100.0, seconds=10.0, response=0.1) == 10.0
    assert ramp.length(rate=2.0, seconds=10.0, response=0.1) == 25.0  # For fifty requests,
    assert ramp.length(rate=0.1, seconds=10.0, response=0.1) == 100.0  # but not for ever.
    assert ramp.length(rate=100.0, seconds=10.0, response=4.0) == 20.0  # Five times a response.


def test_a_rate_is_met_if_enough_requests_met_every_objective() -> None:
    assert judged([answer(0.1)] * 9 + [answer(0.5)]) is None
    reason = judged([answer(0.1)] * 8 + [answer(0.5)] * 2)
    assert reason == "ttft: 20% of the requests took more than 200 ms (p50 100.0, p95 500.0 ms)"


def test_errors_are_a_reason() -> None:
    failed = Record(0.0, sent=0.0, ended=1.0, error="status 503", detail="full")
    assert judged([answer(0.1)] * 8 + [failed] * 2) == "errors: 2 of 10 requests failed (2 x status 503: full)"


def test_clients_that_leave_neither_meet_nor_miss() -> None:
    assert judged([answer(0.1)] * 9 + [Record(0.0, sent=0.0, ended=1.0, left=True)] * 9) is None
    assert judged([Record(0.0, left=True)]) == "no request was sent"


def test_objectives_may_be_missed_together_only() -> None:
    slow_later = Record(0.0, sent=0.0, first=0.1, last=1.0, tokens_out=3, ended=1.0)
    reason = judged([answer(0.1)] * 8 + [answer(0.5), slow_later], {"ttft": 200.0, "e2el": 700.0})
    assert reason == "together: only 80.0% of the requests met every objective"


def test_a_client_that_cannot_keep_up_is_a_reason() -> None:
    reason = judged([answer(0.1, late=0.5)] * 10)
    assert reason is not None
    assert reason.startswith("lateness: the client itself sent half of the requests more than 500.0 ms too late")


async def test_climbing_tries_rates_until_the_knee_is_found() -> None:
    lengths: list[float] = []

    async def attempt(rate: float, seconds: float, number: int) -> Step:
        lengths.append(seconds)
        return step(rate, None if rate <= 25 else "ttft")

    steps = await ramp.climb(attempt, 10.0, 4.0)
    assert [each.rate for each in steps] == [10.0, 20.0, 40.0, 30.0, 25.0, 27.5]
    assert lengths[0] == 5.0
    assert ramp.knee(steps) == {"knee_rate": 25.0, "next_rate": 27.5, "reason": "ttft"}


async def test_climbing_ends_when_it_is_told_to() -> None:
    async def attempt(rate: float, seconds: float, number: int) -> Step | None:
        return None if number == 3 else step(rate, None)

    steps = await ramp.climb(attempt, 1.0, 4.0)
    assert [each.rate for each in steps] == [1.0, 2.0]
    assert ramp.conclusion(ramp.knee(steps)) == "the knee was not found: 2.00/s still met the objectives"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"knee_rate": 4.0, "next_rate": 4.4, "reason": "ttft: x"}, "the knee is at 4.00/s"),
        ({"knee_rate": 4.0, "next_rate": 4.4, "reason": "ttft: x"}, "\n4.40/s failed: ttft: x"),
        ({"knee_rate": None, "next_rate": 0.1, "reason": "errors"}, "even 0.10/s failed: errors"),
    ],
)
def test_the_conclusion_is_said(found: dict[str, Any], words: str) -> None:
    assert words in ramp.conclusion(found)


def test_a_step_is_a_line_and_its_reason_another() -> None:
    met, failed = str(step(4.0, None)), str(step(8.0, "ttft: x"))
    assert met.startswith("     4.00/s for 10 s meets: 100.0% within, ttft p50 100.0 p99 100.0 ms")
    assert failed.splitlines()[1].strip() == "ttft: x"
    assert step(4.0, None).goodput == 4.0
