"""Memory is told after each tenth of the requests."""

from __future__ import annotations

import re

import pytest

from loadtest.bench.onnx import memory
from loadtest.bench.onnx.subject import Subject


@pytest.mark.slow
async def test_memory_is_told_after_each_tenth(capsys: pytest.CaptureFixture[str], subject: Subject) -> None:
    await memory.measure(subject)
    printed = capsys.readouterr().out
    assert re.search(r"memory after each tenth, MiB:( \d+){10}\n", printed)
    assert re.search(r"from the first tenth to the last of 100 requests: [+-][\d.]+%", printed)
