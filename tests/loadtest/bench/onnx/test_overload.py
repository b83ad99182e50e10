"""Goodput is measured at and beyond what the engine can do."""

from __future__ import annotations

import re

import pytest

from loadtest.bench.onnx import overload
from loadtest.bench.onnx.subject import Subject


@pytest.mark.slow
async def test_every_factor_is_offered_in_every_round(capsys: pytest.CaptureFixture[str], subject: Subject) -> None:
    await overload.measure(subject)
    printed = capsys.readouterr().out
    assert re.search(r"^sustainable: [\d.]+ requests/s$", printed, re.MULTILINE)
    offered = re.findall(r"^offered ([\d.]+) times as much: goodput [\d.]+/s .* \(round (\d)\)$", printed, re.MULTILINE)
    assert offered == [(factor, turn) for turn in "123" for factor in ("0.8", "1.0", "1.5", "2.0")]
    assert re.search(r"goodput at 2\.0 times the sustainable load is [\d.]+% of its peak", printed)
