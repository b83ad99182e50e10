"""Padding is what was computed and is no token of a text."""

from __future__ import annotations

import re

import pytest

from loadtest.bench.onnx import padding
from loadtest.bench.onnx.subject import Subject


@pytest.mark.slow
async def test_the_share_of_real_tokens_is_read_from_the_engine(
    capsys: pytest.CaptureFixture[str], subject: Subject
) -> None:
    await padding.measure(subject)
    found = re.search(r"real tokens / computed tokens: ([\d.]+) \((\d+) of (\d+)\)", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) == pytest.approx(int(found[2]) / int(found[3]), abs=0.001)
    assert 0 < int(found[2]) <= int(found[3])
