"""The tuning server as a process: it holds its folder, serves until it is asked to end, and refuses a second one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engines.tuning.__main__ import main
from engines.tuning.launcher import hold, in_use
from tests.kit.tuning import settings

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        (Path(path) / "tuning").mkdir()
        yield Path(path)


def arguments(folder: Path) -> list[str]:
    return ["--uds", str(folder / "s.sock"), "--settings", msgspec.json.encode(settings(folder)).decode()]


def test_it_serves_until_it_is_asked_to_end(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "engines.tuning", *arguments(folder)])
    try:
        wait_for = "import socket, sys, time\n" + (
            "while True:\n"
            "    try:\n"
            "        s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); break\n"
            "    except OSError: time.sleep(0.01)\n"
            "s.sendall(b'GET /health HTTP/1.0\\r\\n\\r\\n'); print(s.recv(100).decode())\n"
        )
        said = subprocess.run(
            [sys.executable, "-S", "-c", wait_for, str(folder / "s.sock")],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert " 200 " in said.stdout
        assert in_use(folder / "tuning")
        assert (folder / "s.sock").stat().st_mode & 0o077 == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert not in_use(folder / "tuning")


def test_a_second_one_for_the_same_folder_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = hold(folder / "tuning")
    try:
        assert main(arguments(folder)) == 1
    finally:
        os.close(held)
    assert f"the tuning folder {folder / 'tuning'} cannot be held" in capsys.readouterr().err


def test_settings_that_are_none_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--uds", str(folder / "s"), "--settings", "{}"])
    assert "--settings: " in capsys.readouterr().err
