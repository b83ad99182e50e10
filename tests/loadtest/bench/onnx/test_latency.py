"""A lone text is run in the session, and sent to the engine and through the gateway."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from loadtest.bench.onnx import latency
from loadtest.bench.onnx.subject import Subject


@pytest.mark.slow
@pytest.mark.parametrize("task", ["embed", "classify"])
async def test_a_lone_text_is_measured_four_ways(
    task: str, capsys: pytest.CaptureFixture[str], subject_of: Callable[[str], Subject]
) -> None:
    await latency.measure(subject_of(task))
    found = re.findall(
        r"^one text of 16 tokens, p50: +([\d.]+) ms  (the \w+|through)", capsys.readouterr().out, re.MULTILINE
    )
    assert [where for _, where in found] == ["the session", "the session", "the engine", "through"]
    assert all(float(p50) >= 0 for p50, _ in found)
