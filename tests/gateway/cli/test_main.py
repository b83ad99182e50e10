"""What all commands have in common, run as a person runs them."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.gateway.cli.processes import ENVIRONMENT, headgate, running

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


async def test_a_command_that_is_interrupted_ends_without_a_word(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as silent:
        control = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        async with running("gateway", "adapter", "list", "--control", control, cwd=tmp_path) as process:
            async with asyncio.timeout(60):
                await asked.wait()
            process.send_signal(signal.SIGINT)
            told, _ = await process.communicate()
    assert (process.returncode, told) == (130, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_whose_output_is_read_no_further_ends_without_a_word(unbuffered: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "gateway", "key", "alice"]
    environment = ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered}
    told = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writing)
    assert (told.returncode, told.stderr) == (1, b"")
