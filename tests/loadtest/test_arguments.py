"""Every option's wrong value is refused before anything is sent, by a message that names it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from loadtest import arguments
from loadtest.compare import Target
from loadtest.mix import Part


def read(*given: str) -> argparse.Namespace:
    command = arguments.parser("loadtest")
    options = command.parse_args(given)
    arguments.check(command, options)
    return options


def test_the_simple_case_is_short() -> None:
    options = read("--model", "sim", "--rate", "5")
    assert options.parts == [Part("chat", "sim", 1.0)]
    assert (options.url, options.seconds, options.scale, options.slo) == ("http://127.0.0.1:8000", 30.0, 1.0, [])


def test_a_mix_with_its_models() -> None:
    options = read("--rate", "5", "--mix", "chat=3,classify=1", "--model", "chat=a", "--model", "classify=b")
    assert options.parts == [Part("chat", "a", 0.75), Part("classify", "b", 0.25)]


def test_a_ramp_begins_at_one_per_second_or_as_said() -> None:
    assert read("--model", "m", "--slo", "ttft=200", "--ramp").ramp == 1.0
    assert read("--model", "m", "--slo", "ttft=200", "--ramp", "8").ramp == 8.0


def test_a_comparison() -> None:
    command = arguments.compare_parser("loadtest compare")
    options = command.parse_args(
        ["--model", "m", "--clients", "1", "--target", "a=http://a:1", "--target", "b=unix:/b"]
    )
    arguments.check(command, options)
    assert options.target == [Target("a", "http://a:1"), Target("b", "unix:/b")]
    assert (options.rounds, options.seconds) == (5, 10.0)


@pytest.mark.parametrize("make", [arguments.parser, arguments.compare_parser])
def test_help_teaches_by_example(make: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(make)
    with pytest.raises(SystemExit):
        make("the-program").parse_args(["--help"])
    told = capsys.readouterr().out
    assert "  the-program --model" in told.partition("examples:")[2]
    assert "%%" not in told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "one of the arguments --rate --clients --trace --ramp is required"),
        (["--rate", "1", "--clients", "1"], "not allowed with"),
        (["--rate", "0"], "--rate: 0 is not a positive number"),
        (["--rate", "x"], "--rate: 'x' is not a positive number"),
        (["--rate", "nan"], "--rate: nan is not a positive number"),
        (["--clients", "0"], "--clients: 0 is not a number of at least 1"),
        (["--clients", "1.5"], "--clients: '1.5' is not a whole number"),
        (["--rate", "1", "--seconds", "-1"], "--seconds: -1 is not a positive number"),
        (["--rate", "1", "--leave", "2"], "--leave: 2 is not a share between 0 and 1"),
        (["--rate", "1", "--leave", "x"], "--leave: 'x' is not a share between 0 and 1"),
        (["--rate", "1", "--warm-up", "-1"], "--warm-up: -1 is less than 0"),
        (["--rate", "1", "--seed", "x"], "--seed: 'x' is not a whole number"),
        (["--rate", "1", "--timeout", "0"], "--timeout: 0 is not a positive number"),
        (["--rate", "1", "--input-tokens", "0"], "--input-tokens: 0 is not a number of at least 1"),
        (["--rate", "1", "--output-tokens", "x"], "--output-tokens: 'x' is not a whole number"),
        (["--rate", "1", "--workload", "talk"], "--workload: invalid choice: 'talk'"),
        (["--rate", "1", "--mix", "chat"], "--mix: 'chat' has no weight"),
        (["--rate", "1", "--mix", "chat=1", "--workload", "chat"], "not allowed with"),
        (["--rate", "1", "--model", "n"], "--model: two models for everything, 'm' and 'n'"),
        (["--rate", "1", "--url", "here"], "--url: 'here' is not an address"),
        (["--rate", "1", "--url", "http://a:99999"], "--url: 'http://a:99999' has no port"),
        (["--rate", "1", "--metrics", "here"], "--metrics: 'here' is not an address"),
        (["--rate", "1", "--slo", "speed=1"], "--slo: 'speed=1' is not an objective"),
        (["--rate", "1", "--slo", "ttft"], "--slo: 'ttft' is not an objective"),
        (["--rate", "1", "--slo", "ttft=fast"], "--slo: 'fast' is not a positive number"),
        (["--ramp"], "--ramp: it needs an objective to be met; give --slo NAME=MS"),
        (["--ramp", "0", "--slo", "ttft=1"], "--ramp: 0 is not a positive number"),
        (["--rate", "1", "--attainment", "0.9"], "--attainment: it is about the objectives of --ramp"),
        (["--rate", "1", "--attainment", "9"], "--attainment: 9 is not a share between 0 and 1"),
        (["--rate", "1", "--scale", "2"], "--scale: it is about a trace; give --trace FILE too"),
        (["--clients", "1", "--limit", "2"], "--limit: it is about a trace"),
        (["--clients", "1", "--arrivals", "constant"], "--arrivals: it is about a rate"),
        (["--rate", "1", "--arrivals", "often"], "--arrivals: invalid choice: 'often'"),
        (["--rate", "1", "--key-env", "NO_SUCH_KEY"], "--key-env: there is no environment variable NO_SUCH_KEY"),
        (["--rate", "1", "--save", "/"], "--save: / is a folder"),
        (["--rate", "1", "--save", "out", "--report", "out"], "--report: it is the file of --save"),
        (["--rate", "1e9", "--seconds", "1e9"], "--rate: 1e+09 a second for 1e+09 s are more than 10,000,000 requests"),
        (["--ramp", "1e300", "--slo", "ttft=1"], "--ramp: 1e+300 a second for 30 s are more than 10,000,000 requests"),
        (["--clients", "65536"], "--clients: 65536 is more than 65,535, and so many ports there are"),
        (["--rate", "1", "--warm-up", "10000001"], "--warm-up: 10000001 is more than 10,000,000"),
        (["--ramp", "--unary", "--slo", "ttft=1"], "--slo: ttft is of streams, and nothing streams here"),
        (["--rate", "1", "--workload", "classify", "--slo", "tpot=1"], "--slo: tpot is of streams"),
        (["--rate", "1", "--report", "/none/x.html"], "--report: there is no folder /none"),
        (["--rate", "1", "--model", "chat="], "--model: 'chat=' names no model"),
        (["--rate", "1", "--rounds", "3"], "unrecognized arguments: --rounds 3"),
    ],
)
def test_a_wrong_value_is_named(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read("--model", "m", *given)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("key", ["sk-1\n", "sk-1\r\nx: y", "sk-é"])
def test_a_key_that_no_header_may_hold(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ODD_KEY", key)
    with pytest.raises(SystemExit):
        read("--model", "m", "--rate", "1", "--key-env", "ODD_KEY")
    assert "--key-env: ODD_KEY holds a line break, or what is not ASCII" in capsys.readouterr().err


def test_an_objective_of_streams_where_some_stream() -> None:
    given = read("--model", "m", "--rate", "1", "--mix", "chat=1,classify=1", "--slo", "ttft=200")
    assert given.slo == [("ttft", 200.0)]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "the following arguments are required: --target"),
        (["a=http://a"], "--target: a comparison needs at least two, with different names"),
        (["a=http://a", "a=http://b"], "--target: a comparison needs at least two, with different names"),
        (["http://a", "b=http://b"], "--target: 'http://a' is not a target; one is direct=http://127.0.0.1:8001"),
    ],
)
def test_wrong_targets(targets: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments.compare_parser("loadtest compare")
    with pytest.raises(SystemExit):
        arguments.check(
            command,
            command.parse_args(["--model", "m", "--rate", "1", *(x for each in targets for x in ("--target", each))]),
        )
    assert message in capsys.readouterr().err


def test_a_file_that_may_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read("--model", "m", "--rate", "1", "--save", str(tmp_path / "x.json")).save == tmp_path / "x.json"
