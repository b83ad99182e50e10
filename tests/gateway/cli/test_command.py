"""What the commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from gateway.cli.command import add_command, add_config, add_gateway, count


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="headgate")
    commands = made.add_subparsers()
    sail = add_command(
        commands,
        "sail",
        lambda options: len(options.config.name),
        summary="s",
        description="A\n  b",
        epilog="example:\n  c",
    )
    add_config(sail)
    return made


def test_a_command_knows_how_it_is_run() -> None:
    options = parser().parse_args(["sail", "--config", "a/b.toml"])
    assert options.config == Path("a/b.toml")
    assert options.run(options) == 6


def test_its_help_has_the_lines_of_its_description_and_the_default_of_the_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["sail", "--help"])
    said = capsys.readouterr().out
    assert "\nA\n  b\n" in said
    assert "\nexample:\n  c\n" in said
    assert "(default: models.toml)" in said


def test_a_key_comes_from_the_environment_variable_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = argparse.ArgumentParser()
    add_gateway(made)
    assert made.parse_args([]).key is None
    monkeypatch.setenv("THE_KEY", "sk-1")
    assert made.parse_args(["--key-env", "THE_KEY"]).key == "sk-1"
    monkeypatch.setenv("THE_KEY", "")
    with pytest.raises(SystemExit, match="2"):
        made.parse_args(["--key-env", "THE_KEY"])
    assert "argument --key-env: there is no environment variable THE_KEY, or it is empty" in capsys.readouterr().err


def test_a_count_is_a_whole_number_from_one() -> None:
    assert count("12") == 12
    for wrong in ("0", "-1", "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 1"):
            count(wrong)
