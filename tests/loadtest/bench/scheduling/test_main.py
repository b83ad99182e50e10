"""The command line of the scheduling figures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from loadtest.bench.scheduling import __main__ as command
from loadtest.svg.bar_chart import bar_chart


def test_an_unknown_figure_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    told = capsys.readouterr().err
    assert all(name in told for name in ("fairness", "goodput", "herding"))


@pytest.mark.parametrize(("missed", "status"), [([], 0), (["too slow"], 1)])
def test_a_figure_is_measured_kept_drawn_and_held_against_its_targets(
    missed: list[str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def measure(log: object) -> dict[str, float]:
        return {"seconds": 1.5}

    one = SimpleNamespace(
        measure=measure,
        table=lambda found: f"| {found['seconds']} |",
        chart=lambda found: bar_chart("One", [("seconds", [("here", found["seconds"])])], "here"),
        misses=lambda _: missed,
    )
    monkeypatch.setattr(command, "FIGURES", {"one": one})
    assert command.main(["one", "--out", str(tmp_path / "out")]) == status
    found = json.loads((tmp_path / "out/one.json").read_text())
    assert found["seconds"] == 1.5
    assert found["machine"]["load_average_before"] >= 0
    assert "<svg" in (tmp_path / "out/one.svg").read_text()
    assert capsys.readouterr().out.splitlines()[1:] == [
        "| 1.5 |",
        "",
        *(["missed:", *missed] if missed else ["every target was met"]),
    ]
