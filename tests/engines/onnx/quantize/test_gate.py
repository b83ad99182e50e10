"""The gate lets pass what reaches every limit, and says of the rest what it misses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.onnx.quantize.gate import Gate, Measured

GOOD = Measured(
    name="good",
    bytes=25,
    size=0.25,
    seconds=1.0,
    speedup=2.0,
    accuracy=0.9,
    accuracy_loss=0.5,
    flips=1.0,
    shift=0.1,
    neighbour_flips=0.1,
    neighbour_shift=0.01,
    shapes={"1x16": 1.0},
)


def test_a_variant_that_just_reaches_every_limit_passes() -> None:
    assert Gate().failures(replace(GOOD, size=0.35)) == []


@pytest.mark.parametrize(
    ("changes", "miss"),
    [
        ({"speedup": 1.99}, "1.99 times faster, at least 2 wanted"),
        ({"accuracy_loss": 0.51}, "loses 0.51 points of accuracy, at most 0.5 allowed"),
        ({"neighbour_flips": 0.2}, "0.20 % flips by batch neighbours, at most 0.1 % allowed"),
        ({"size": 0.36}, "0.36 times the size, at most 0.35 allowed"),
    ],
)
def test_each_limit_is_told_when_it_is_missed(changes: dict[str, float], miss: str) -> None:
    assert Gate().failures(replace(GOOD, **changes)) == [miss]  # type: ignore[arg-type]


def test_all_misses_are_told_together() -> None:
    assert len(Gate(9, -9, -1, 0).failures(GOOD)) == 4


def test_the_variant_nearest_to_the_model_is_chosen_of_those_that_pass() -> None:
    near, nearer = replace(GOOD, name="near", flips=0.3), replace(GOOD, name="nearer", flips=0.3, shift=0.05)
    slow = replace(GOOD, name="slow", flips=0.0, speedup=1.5)
    assert Gate().choose([GOOD, near, slow, nearer]) is nearer
    assert Gate().choose([slow]) is None
