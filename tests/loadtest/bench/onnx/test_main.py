"""The command line runs the parts that are asked for, one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.bench.onnx.__main__ import PARTS, main
from tests.engines.onnx.tiny import write_embedder


@pytest.mark.slow
def test_the_parts_that_are_asked_for_are_measured_in_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("good cat\n\nbad dog cat\n")
    options = ["--folder", str(write_embedder(tmp_path)), "--task", "embed", "--texts", str(tmp_path / "texts")]
    options += ["--seconds", "0.2", "--clients", "4", "--threads", "1", "--part", "padding", "--part", "alone"]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert printed.index("\npadding\n") < printed.index("real tokens / computed tokens") < printed.index("\nalone\n")


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--folder", ".", "--task", "embed", "--part", "speed"])
    assert "invalid choice: 'speed'" in capsys.readouterr().err
    assert list(PARTS) == [
        "throughput",
        "alone",
        "padding",
        "overload",
        "memory",
        "explanation",
        "faithfulness",
    ]
