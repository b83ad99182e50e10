"""The options mean the same on both command lines."""

from __future__ import annotations

import argparse

import pytest

from engines.onnx.quantize.command import VARIANT_NAMES, add_options, gate_of, words
from engines.onnx.quantize.gate import Gate
from engines.onnx.quantize.variants import VARIANTS


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
    "line",
    [
        "--data a.csv",
        "--data a.csv --variants per-token static",
        "--data a.csv b.json --calibrate c.csv --max-texts 9 --max-mixed 5 --max-size 1 --card docs/a --threads 3",
    ],
)
def test_options_written_out_again_mean_the_same(line: str) -> None:
    options = parsed(*line.split())
    assert parsed(*words(options)) == options


def test_data_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed()
    assert "--data" in capsys.readouterr().err


def test_all_variants_are_made_unless_some_are_named() -> None:
    assert tuple(parsed("--data", "a.csv").variants) == VARIANT_NAMES
    assert set(VARIANT_NAMES) == set(VARIANTS)
    assert parsed("--data", "a.csv", "--variants", "per-token").variants == ["per-token"]


def test_a_variant_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--data", "a.csv", "--variants", "float8")
    assert "'float8'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--threads", "--max-texts", "--max-mixed"])
@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_a_count_that_cannot_be_is_refused(option: str, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--data", "a.csv", f"{option}={count}")
    assert f"argument {option}: is {count}; expected a whole number of at least 1" in capsys.readouterr().err
