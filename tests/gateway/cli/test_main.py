"""What all commands have in common, run as a person runs them."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.gateway.cli.processes import headgate

pytestmark = pytest.mark.slow


def test_help_teaches_by_example(tmp_path: Path) -> None:
    told = headgate("--help", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    for command in ("serve", "check", "models", "quantize", "key", "bench"):
        assert f"  headgate {command}" in told.stdout
    assert "--listen HOST:PORT" in headgate("serve", "--help", cwd=tmp_path).stdout


def test_version(tmp_path: Path) -> None:
    assert headgate("--version", cwd=tmp_path).stdout == f"headgate {importlib.metadata.version('headgate')}\n"


@pytest.mark.parametrize("arguments", [[], ["dance"], ["serve", "--port", "1"]], ids=str)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: headgate" in capsys.readouterr().err


def test_output_that_nobody_reads_any_more_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert main(["key", "alice"]) == 1


@pytest.mark.parametrize("command", ["serve", "models", "quantize m --data a"])
def test_every_command_refuses_a_wrong_file(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--config", str(tmp_path / "none.toml")]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "check", "models", "quantize", "probe", "suggest", "key", "bench"])
def test_the_help_of_each_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"headgate {command}" in capsys.readouterr().out.partition("example")[2]
