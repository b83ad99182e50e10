"""The command writes the files, or tells which are out of date."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.monitoring import __main__ as command


def call(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> int:
    monkeypatch.setattr(command, "FOLDER", folder)
    monkeypatch.setattr("sys.argv", ["monitoring", *options])
    return command.main()


def test_it_writes_what_it_then_finds_up_to_date(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert call(monkeypatch, tmp_path) == 0
    assert call(monkeypatch, tmp_path, "--check") == 0


def test_check_names_what_is_out_of_date_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, tmp_path, "--check") == 1
    assert "deploy/prometheus/rules/headgate.yml is out of date: make docs" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
