"""The command line of the fault figures."""

from __future__ import annotations

import pytest

from loadtest.bench.faults import __main__ as command


def test_an_unknown_figure_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    told = capsys.readouterr().err
    assert "black_hole" in told
    assert "departures" in told


def test_a_figure_is_measured_and_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def measure(log: object) -> dict[str, float]:
        assert callable(log)
        log("a line")
        return {"seconds": 1.5}

    monkeypatch.setattr(command, "FIGURES", {"one": measure})
    assert command.main(["one"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["", "one", "a line", "{'seconds': 1.5}"]
