"""The options mean the same on both command lines."""

from __future__ import annotations

import argparse

import pytest

from engines.onnx.quantize.command import add_options, gate_of, words
from engines.onnx.quantize.gate import Gate


def parsed(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(line)


def test_without_limits_the_gate_has_its_defaults() -> None:
    assert gate_of(parsed("--data", "a.csv")) == Gate(2.0, 0.5, 0.1, 0.35)


def test_each_limit_is_an_option() -> None:
    line = "--data a.csv --min-speedup 1.5 --max-accuracy-loss 2 --max-neighbour-flips 3 --max-size 0.5"
    assert gate_of(parsed(*line.split())) == Gate(1.5, 2, 3, 0.5)


@pytest.mark.parametrize(
    "line", ["--data a.csv", "--data a.csv b.json --calibrate c.csv --max-texts 9 --max-size 1 --card docs/a"]
)
def test_options_written_out_again_mean_the_same(line: str) -> None:
    options = parsed(*line.split())
    assert parsed(*words(options)) == options


def test_data_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed()
    assert "--data" in capsys.readouterr().err
