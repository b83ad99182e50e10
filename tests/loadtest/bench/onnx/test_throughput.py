"""Speeds are shares of the ceiling."""

from __future__ import annotations

import re

import pytest

from loadtest.bench.onnx import throughput
from loadtest.bench.onnx.subject import Subject


@pytest.mark.slow
async def test_speeds_are_shares_of_the_ceiling(capsys: pytest.CaptureFixture[str], subject: Subject) -> None:
    await throughput.measure(subject)
    printed = capsys.readouterr().out
    assert "texts have 3 to 11 tokens, 5.8 on average" in printed
    rows = re.findall(r"^(\S.*?)\s{2,}([\d.]+) texts/s .* ms CPU/text +([\d.]+)%.* 0 failed", printed, re.MULTILINE)
    assert [name for name, _, _ in rows] == [
        "gateway, 8 clients, one text a request",
        "gateway, 1 clients, 32 texts a request",
        "engine alone, 8 clients, one text a request",
        "naive server",
    ]
    assert all(float(speed) > 0 for _, speed, _ in rows)
