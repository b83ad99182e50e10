"""Each rule does what its project documents."""

from __future__ import annotations

from itertools import pairwise

from gateway.scaling.decide import ScalingRule
from loadtest.bench.elastic.fleet import Demand, Rule
from loadtest.bench.elastic.rules import HorizontalPodAutoscaler, KnativePodAutoscaler, Ours, RayServe


def play(rule: Rule, requests: list[int], *, every: float = 1.0, replicas: int = 1) -> list[int]:
    """Let a rule see so many requests, second by second; what it says is there at once."""
    said = []
    for number, running in enumerate(requests):
        replicas = rule(Demand(number * every, replicas, 0, running, 0, 0))
        said.append(replicas)
    return said


def test_ours_goes_up_at_once_and_down_one_at_a_time() -> None:
    ours = Ours(ScalingRule(1, 8, 2.0, 300.0, keep=10.0), 40.0)
    said = play(ours, [0, 0, 12, 12, 12, *[0] * 40])
    assert said[2] == 6
    assert said[-1] == 1
    assert all(before - after <= 1 for before, after in pairwise(said))


def test_hpa_looks_every_15_seconds_and_keeps_the_highest_of_300() -> None:
    said = play(HorizontalPodAutoscaler(2.0, 8), [8] * 20 + [1] * 320)
    assert said[0] == 4
    assert set(said[:315]) == {4}
    assert said[-1] == 1


def test_hpa_tolerates_a_tenth() -> None:
    assert set(play(HorizontalPodAutoscaler(100.0, 8), [109] * 40)) == {1}


def test_kpa_averages_over_a_minute_and_panics_within_seconds() -> None:
    slow = play(KnativePodAutoscaler(10.0, 8), [15] * 60 + [25] * 60, replicas=2)
    assert (slow[59], slow[70], slow[-1]) == (2, 2, 3)
    panicked = play(KnativePodAutoscaler(10.0, 8), [0] * 60 + [60] * 6 + [0] * 50)
    assert panicked[65] == 6
    assert set(panicked[65:]) == {6}


def test_ray_serve_waits_half_a_minute_up_and_ten_minutes_down() -> None:
    said = play(RayServe(2.0, 8), [8] * 60 + [2] * 700)
    assert (said[29], said[31]) == (1, 4)
    assert (said[600], said[-1]) == (4, 1)
