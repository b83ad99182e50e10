"""The command line tells the curves, what is saved, and what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadtest.bench.labelling.__main__ import main
from tests.engines.onnx.tiny import write_embedder

OPTIONS = ["--pool", "60", "--test", "30", "--first", "4", "--step", "4", "--last", "12", "--seeds", "2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return write_embedder(tmp_path / "model")


def test_curves_are_told_and_drawn(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "pets.csv"
    rows = [f"{word} {'good ' * (number % 3)},{word}" for number in range(40) for word in ("cat", "dog", "good")]
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    svg = tmp_path / "curves.svg"
    assert main(["--folder", str(folder), "--data", str(data), *OPTIONS, "--svg", str(svg)]) == 0
    heading, random, suggested, saved = capsys.readouterr().out.splitlines()
    assert heading.split() == ["pets", "4", "8", "12"]
    assert [line.split()[0] for line in (random, suggested)] == ["random", "suggested"]
    assert random.split()[1] == suggested.split()[1]
    assert re.fullmatch(
        r"  [\d.]+ % at random with 12 labels; suggested: (\d+ labels, \d+% of them|not reached)", saved
    )
    assert "pets, suggested" in svg.read_text()


def test_what_cannot_be_simulated_is_told(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "few.csv"
    data.write_text("text,label\ncat,a\n")
    assert main(["--folder", str(folder), "--data", str(data), *OPTIONS]) == 2
    assert "few.csv: 1 labelled texts are too few for --test and --last" in capsys.readouterr().err
    data.write_text("title\ncat\n")
    assert main(["--folder", str(folder), "--data", str(data), *OPTIONS]) == 2
    assert "few.csv:1: expected a heading with the column text" in capsys.readouterr().err
