"""The options of the part ``gpu``."""

import argparse
from pathlib import Path

import pytest

from loadtest.bench.gpu.command import add_options, settings
from loadtest.bench.gpu.measure import GpuSettings


def given(*arguments: str, smoke: bool = False) -> GpuSettings:
    """Read options as the benchmark does."""
    command = argparse.ArgumentParser()
    add_options(command)
    command.set_defaults(seconds=1.0, rounds=5, smoke=smoke)
    return settings(command.parse_args(arguments))


def test_without_options_an_8b_is_measured_at_four_loads_and_the_knee() -> None:
    found = given()
    assert (found.shape.name, list(found.streams), found.knee) == ("8b", [1, 16, 64, 256], True)
    assert (found.lengths.prompt, found.lengths.response, found.rounds) == (256, 128, 5)


def test_options_of_vllm_are_passed_on() -> None:
    shape = given("--engine-arg", "max-num-seqs=64", "--engine-arg", "enforce-eager").shape
    assert (shape.args["load-format"], shape.args["enforce-eager"]) == ("dummy", True)
    assert shape.max_num_seqs == 64
    with pytest.raises(ValueError, match="--engine-arg max-num-seqs=many: expected a whole number"):
        given("--engine-arg", "max-num-seqs=many")


def test_a_smoke_test_needs_no_gpu() -> None:
    found = given(smoke=True)
    assert (found.shape.needs_gpu, found.knee, found.rounds) == (False, False, 1)


def test_lengths_that_the_model_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match="--input-tokens 2000 and --output-tokens 100 are more than the 2048 tokens"):
        given("--shape", "135m", "--input-tokens", "2000", "--output-tokens", "100")


def test_a_profile_needs_a_folder_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "none" / "costs.json"
    with pytest.raises(ValueError, match=f"--calibrate {file}: there is no such folder"):
        given("--calibrate", str(file))
    given("--calibrate", "costs.json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--streams", "0"], "'0' is not a number from 1 on"),
        (["--engine-arg", "=x"], "'=x' is no option of vLLM: expected NAME=VALUE, or NAME for a flag"),
        (["--shape", "9b"], "invalid choice: '9b'"),
    ],
)
def test_bad_options_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        given(*arguments)
    assert said in capsys.readouterr().err
