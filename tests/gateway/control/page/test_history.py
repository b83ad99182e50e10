"""The last hour is a ring: it forgets what is older, has gaps where nothing was written, and never grows."""

from __future__ import annotations

from math import isnan

from gateway.control.page.history import COLUMNS, STEP_SECONDS, STEPS, History, Ring, times

NOTHING: dict[str, float | None] = dict.fromkeys(COLUMNS, 0.0)


def numbers(**given: float | None) -> dict[str, float | None]:
    return NOTHING | given


def test_an_hour_ends_with_the_step_that_is_asked_for() -> None:
    ring = Ring()
    ring.write(1000, numbers(requests=1.5))
    ring.write(1001, numbers(requests=2.5))
    column = ring.read(1001)["requests"]
    assert (len(column), column[-2:]) == (STEPS, [1.5, 2.5])
    assert all(map(isnan, column[:-2]))
    assert list(times(1001))[-1] == 1001 * STEP_SECONDS
    assert len(list(times(1001))) == STEPS


def test_steps_that_nobody_wrote_are_gaps() -> None:
    ring = Ring()
    ring.write(10, numbers(requests=1.0))
    ring.write(13, numbers(requests=4.0))
    *_, first, second, third, last = ring.read(13)["requests"]
    assert (first, last) == (1.0, 4.0)
    assert isnan(second)
    assert isnan(third)


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    ring = Ring()
    ring.write(10, numbers(requests=1.0))
    assert ring.read(10 + STEPS - 1)["requests"][0] == 1.0
    assert all(map(isnan, ring.read(10 + STEPS)["requests"]))


def test_a_mean_is_of_the_steps_that_were_written() -> None:
    ring = Ring()
    assert ring.mean("input_tokens", 9, 4) == 0.0
    for step, tokens in ((5, 100.0), (6, 2.0), (8, 4.0)):
        ring.write(step, numbers(input_tokens=tokens))
    assert ring.mean("input_tokens", 9, 4) == 3.0
    assert ring.mean("input_tokens", 13, 4) == 0.0


def test_after_hours_of_silence_nothing_old_comes_back() -> None:
    ring = Ring()
    for step in range(STEPS):
        ring.write(step, numbers(requests=9.0))
    ring.write(5 * STEPS + 3, numbers(requests=1.0))
    column = ring.read(5 * STEPS + 3)["requests"]
    assert column[-1] == 1.0
    assert all(map(isnan, column[:-1]))


def test_a_step_keeps_the_most_that_waited_and_the_fewest_that_were_ready() -> None:
    ring = Ring()
    ring.write(7, numbers(waiting=5.0, running=2.0, ready=2.0, requests=1.0))
    ring.write(7, numbers(waiting=1.0, running=3.0, ready=1.0, requests=4.0))
    ring.write(7, numbers(waiting=0.0, running=0.0, ready=2.0, requests=3.0))
    hour = ring.read(7)
    assert {name: hour[name][-1] for name in ("waiting", "running", "ready", "requests")} == {
        "waiting": 5.0,
        "running": 3.0,
        "ready": 1.0,
        "requests": 3.0,
    }


def test_a_quantile_without_requests_is_a_gap() -> None:
    ring = Ring()
    ring.write(7, numbers(ttft_p50=None))
    assert isnan(ring.read(7)["ttft_p50"][-1])


def test_a_model_takes_memory_from_its_first_request_on_until_it_is_gone() -> None:
    history = History()
    own = history.all.size
    for name in map(str, range(1000)):
        history.write(name, 1, numbers(ready=2.0))
    assert (history.size, history.of("3")) == (own, None)
    history.write("3", 2, numbers(requests=1.0))
    history.write("3", 3, numbers())
    ring = history.of("3")
    assert ring is not None
    assert ring.read(3)["requests"][-2:] == [1.0, 0.0]
    assert repr(history) == f"<History of 1 models [{2 * own} bytes]>"
    history.keep({"4"})
    assert (history.of("3"), history.size) == (None, own)


def test_a_thousand_busy_models_take_as_much_as_the_documentation_says() -> None:
    assert Ring().size == 12_480
    assert repr(Ring()) == "<Ring [13 x 240]>"
