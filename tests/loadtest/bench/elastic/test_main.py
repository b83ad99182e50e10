"""The command compares every rule with the fixed fleet, and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.bench.elastic.__main__ import main

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def test_all_rules_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "t.csv"
    rows = [f"2023-11-16 18:15:{second:02}.0000000,500,5" for second in range(40)]
    trace.write_text(HEADER + "\n".join(rows) + "\n")
    monkeypatch.setattr("loadtest.bench.elastic.__main__.day", lambda recorded: recorded)
    assert main([str(trace), "--start", "40", "--queue-timeout", "1.5", "--out", str(tmp_path / "out")]) == 0
    runs = json.loads((tmp_path / "out/scaling.json").read_text())
    assert [run["rule"] for run in runs[:7]] == [
        "fixed, 1",
        "headgate",
        "HPA",
        "KPA",
        "Ray Serve",
        "clairvoyant, 98%",
        "clairvoyant, 99%",
    ]
    assert all(run["goodput_share"] == run["replica_seconds_share"] == 1.0 for run in runs)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scaling.json", "trace.svg", "day.svg"}
    assert "| **headgate** | 100.0% | 100.0% | 100.0% | 0 |" in capsys.readouterr().out


def test_a_trace_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text(HEADER)
    assert main([str(tmp_path / "t.csv"), "--out", str(tmp_path)]) == 2
    assert "no requests in it" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["t.csv", "--out", str(tmp_path / "file")]) == 2
    assert f"--out {tmp_path / 'file'}: File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--queue-timeout", "-1", "'-1' is not a number of seconds from 0 on"),
        ("--queue-timeout", "nan", "'nan' is not a number of seconds from 0 on"),
        ("--queue-timeout", "0", "'0' is not a number of seconds above 0"),
        ("--start", "-5", "'-5' is not a number of seconds from 0 on"),
        ("--start", "inf", "'inf' is not a number of seconds from 0 on"),
        ("--start", "soon", "'soon' is not a number of seconds from 0 on"),
        ("--requests", "0", "'0' is not a number from 1 on"),
        ("--requests", "-3", "'-3' is not a number from 1 on"),
    ],
)
def test_a_number_that_makes_no_sense_is_told(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["t.csv", option, value])
    assert f"argument {option}: {said}" in capsys.readouterr().err
