"""The command line of the fault figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from loadtest.bench.faults import __main__ as command


def test_each_figure_that_is_asked_for_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(log: Callable[[str], None]) -> Mapping[str, int]:
        log("measuring")
        return {"p99": 7}

    monkeypatch.setattr(command, "FIGURES", {"black_hole": measure})
    assert command.main(["black_hole"]) == 0
    assert capsys.readouterr().out.endswith("black_hole\nmeasuring\n{'p99': 7}\n")


def test_an_unknown_figure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["white_hole"])
    assert "black_hole" in capsys.readouterr().err
