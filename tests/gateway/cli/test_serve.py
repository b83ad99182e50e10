"""``headgate serve`` says why it cannot serve."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.gateway.cli.processes import REMOTE, headgate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("which", ["listen", "control"])
def test_a_port_in_use_is_1_and_says_which(which: str, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(REMOTE.format(url="http://127.0.0.1:1"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = headgate("serve", f"--{which}", address, cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith(f"headgate: Cannot listen on {address} (gateway.{which}): ")
    assert "in use" in told.stderr
    assert "Traceback" not in told.stderr


def test_serve_refuses_a_wrong_address_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models.toml"
    path.write_text(REMOTE.format(url="http://127.0.0.1:1"))
    assert main(["serve", "--config", str(path), "--listen", "nowhere"]) == 2
    assert "--listen nowhere: expected HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "65", "two"])
def test_serve_refuses_a_wrong_number_of_processes(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--processes", number])
    assert ended.value.code == 2
    assert f"'{number}' is not a number from 1 to 64" in capsys.readouterr().err
