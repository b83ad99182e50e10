"""The size of batches follows from what is measured, also on a machine that is busy with other things."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from engines.onnx.model.budget import SHORT, fit


class Machine:
    """Takes ``fixed`` seconds for a batch and ``each`` for every text in it, half as much more beyond ``cache``."""

    def __init__(self, fixed: float, each: float, *, cache: int = 10**6, noise: float = 0.0, seed: int = 0) -> None:
        self.spent = 0.0
        self.batches: list[int] = []
        self._time: Callable[[int], float] = lambda texts: fixed + each * (texts + max(0, texts - cache) / 2)
        self._noise = noise
        self._draw = random.Random(seed)

    def __call__(self, texts: int) -> float:
        taken = self._time(texts) * (1 + self._noise * self._draw.expovariate(1))
        self.spent += taken
        self.batches.append(texts)
        return taken


@pytest.mark.parametrize(
    ("machine", "knee"),
    [
        # Calls cost nothing: a text alone is as fast as any batch.
        (Machine(0, 0.005), 1),
        # A call costs as much as a text: so many share it that 95 % of the speed of the largest batch are left.
        (Machine(0.001, 0.001), 16),
        (Machine(0.0004, 0.001), 8),
        # A batch that leaves the caches is slower.
        (Machine(0.001, 0.001, cache=8), 8),
    ],
)
def test_the_budget_is_twice_the_smallest_batch_with_nearly_all_of_the_speed(machine: Machine, knee: int) -> None:
    found = fit(machine, SHORT)
    assert found.tokens == 2 * knee * SHORT
    assert str(found) == f"{found.rate:.0f} tokens/s each in batches of {found.tokens}"


def test_the_speed_is_that_at_the_knee() -> None:
    assert fit(Machine(0.0004, 0.001), SHORT).rate == pytest.approx(8 * 16 / 0.0084)


@pytest.mark.parametrize("seed", range(20))
def test_noise_moves_the_budget_by_one_step_at_most(seed: int) -> None:
    found = fit(Machine(0.0004, 0.001, noise=0.05, seed=seed), SHORT)
    assert found.tokens in (4 * 32, 8 * 32, 16 * 32)


def test_a_batch_is_never_so_long_that_all_others_wait() -> None:
    slow = Machine(0.02, 0.02)
    assert fit(slow, SHORT).tokens == 2 * 2 * 16
    assert slow.spent < 1


def test_a_model_too_slow_for_any_batch_runs_two_texts_at_most() -> None:
    slow = Machine(1, 2)
    assert fit(slow, SHORT).tokens == 2 * 16
    assert slow.batches == [1, 1]


@pytest.mark.parametrize("machine", [Machine(0.001, 0.0001), Machine(0.005, 0.005), Machine(0.02, 0.01)])
def test_measuring_takes_less_than_a_second(machine: Machine) -> None:
    fit(machine, SHORT)
    assert machine.spent < 1


def test_a_large_batch_is_not_tried_once_larger_ones_bring_nothing() -> None:
    machine = Machine(0, 0.001)
    fit(machine, SHORT)
    assert max(machine.batches) == 4


def test_a_clock_that_stands_still_now_and_then_changes_nothing() -> None:
    machine, runs = Machine(0.0004, 0.001), itertools.count()

    def seconds(texts: int) -> float:
        return 0.0 if next(runs) % 3 == 0 else machine(texts)

    assert fit(seconds, SHORT) == fit(Machine(0.0004, 0.001), SHORT)


def test_a_clock_that_never_moves_is_no_mistake() -> None:
    assert fit(lambda _: 0.0, SHORT).rate > 0
