"""The declared options as a command line, written and read back."""

from __future__ import annotations

import argparse

import pytest

from engines.onnx.command_line import add_options, options_in, words
from engines.onnx.options import Golden, OnnxOptions

EVERYTHING = OnnxOptions(
    labels=("-1", "it's", "a b"),
    max_length=9,
    output="null",
    moderation={"hate": ["-1"], "x-a": ["it's", "a b"]},
    moderation_threshold=1e-05,
    golden=Golden('"é" -\n', [0.1, -2.0], tolerance=0.5),
)


def parser(*only: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="serve")
    add_options(made, only) if only else add_options(made)
    return made


@pytest.mark.parametrize("options", [OnnxOptions(), EVERYTHING, OnnxOptions(golden=Golden("a", [1.0], "b"))])
def test_what_was_written_is_read(options: OnnxOptions) -> None:
    assert options_in(parser().parse_args(words(options))) == options


def test_only_what_differs_from_the_defaults_is_written() -> None:
    assert words(OnnxOptions()) == []
    assert words(OnnxOptions(labels=("a", "b"), moderation={"hate": ["a"], "x-b": ["a", "b"]})) == [
        "--labels=a,b",
        "--moderate=hate=a",
        "--moderate=x-b=a,b",
    ]


def test_what_concerns_the_files_alone_is_not_told_to_the_server() -> None:
    assert words(OnnxOptions(variant="int8")) == []
    assert "--variant" not in parser().format_help()


def test_some_options_can_be_written_and_read_by_themselves() -> None:
    assert words(EVERYTHING, only=("max_length",)) == ["--max-length=9"]
    assert options_in(parser("max_length").parse_args(["--max-length", "9"])) == OnnxOptions(max_length=9)
    assert "--labels" not in parser("max_length").format_help()


def test_what_people_write_has_spaces() -> None:
    assert options_in(parser().parse_args(["--labels", "fine, nasty"])).labels == ("fine", "nasty")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--max-length many", "argument --max-length: 'many': Expected `int`, got `str`"),
        ("--max-length 0", "argument --max-length: '0': Expected `int` >= 1"),
        ("--labels a,,b", "argument --labels: 'a,,b': '' is no label"),
        ("--moderate hate", "argument --moderate: 'hate': expected NAME=A,B"),
        ("--moderate hat=a", "'hat' is none of OpenAI's categories"),
        ("--moderation-threshold 2", "argument --moderation-threshold: '2': Expected `float` <= 1.0"),
        ("--golden []", "argument --golden: '[]': Expected `object`, got `array`"),
        ('--golden {"text":"a","answer":[]}', "Expected `array` of length >= 1"),
        ('--golden {"text":"a","answer":[1],"tolerance":0}', "Expected `float` > 0"),
        ('--golden {"text":"a"}', "missing required field `answer`"),
        ('--golden {"text":"a","answer":[1],"anwser":1}', "unknown field `anwser`"),
    ],
)
def test_a_wrong_value_is_told_by_its_option(capsys: pytest.CaptureFixture[str], line: str, reason: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(line.split())
    assert reason in capsys.readouterr().err


def test_help_says_what_each_option_means_and_its_default() -> None:
    said = " ".join(parser().format_help().split())
    assert "--max-length N longest input, in tokens. Default: what the model's files say" in said
    assert "--moderation-threshold P the score from which a moderation category is flagged; default 0.5" in said
    assert "--moderate CATEGORY=A,B `classify`: moderation categories" in said
    assert "brings `/v1/moderations`; may be given several times" in said
