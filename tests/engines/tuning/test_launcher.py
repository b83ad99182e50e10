"""The tuning server is started like an engine, and never in the folder of another one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from engines.errors import SourceError
from engines.spec import EngineSpec, FolderSource
from engines.supervisor import Supervisor
from engines.tuning.launcher import LOCK, MODEL, TuningServer, hold, in_use, socket_in
from engines.tuning.records import TuningSettings
from tests.kit.tuning import settings


def spec(folder: Path) -> EngineSpec:
    return EngineSpec(model=MODEL, engine=MODEL, source=FolderSource(folder))


def test_it_is_told_its_settings_and_its_socket(tmp_path: Path) -> None:
    told = settings(tmp_path)
    server = TuningServer(told)
    folder = server.prepare(spec(tmp_path), tmp_path, print)
    launch = server.launch(spec(tmp_path), folder, (), tmp_path / "s.sock")
    assert launch.command[1:3] == ("-m", "engines.tuning")
    assert launch.command[launch.command.index("--uds") + 1] == str(tmp_path / "s.sock")
    given = launch.command[launch.command.index("--settings") + 1]
    assert msgspec.json.decode(given, type=TuningSettings) == told


def test_a_folder_that_another_server_holds_is_refused(tmp_path: Path) -> None:
    server = TuningServer(settings(tmp_path))
    folder = server.prepare(spec(tmp_path), tmp_path, print)
    held = hold(folder)
    try:
        with pytest.raises(SourceError, match=r"is another gateway's; set gateway\.tuning\.folder"):
            server.launch(spec(tmp_path), folder, (), tmp_path / "s.sock")
        with pytest.raises(BlockingIOError):
            hold(folder)
    finally:
        os.close(held)
    server.launch(spec(tmp_path), folder, (), tmp_path / "s.sock")


def test_nobody_else_can_hold_the_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert not in_use(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "tuning").touch()
    with pytest.raises(SourceError, match="cannot be made"):
        TuningServer(settings(tmp_path)).prepare(spec(tmp_path), tmp_path, print)


def test_clients_ask_where_the_supervisor_lets_it_listen(tmp_path: Path) -> None:
    supervisor = Supervisor(
        folder=tmp_path, cache=tmp_path, on_change=print, launchers={MODEL: TuningServer(settings(tmp_path))}
    )
    assert supervisor.add(spec(tmp_path)).address == f"unix:{socket_in(tmp_path)}"
