"""An explanation is measured alone, and plain requests alone, beside explanations and beside large requests."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from loadtest.bench.onnx import explanation
from loadtest.bench.onnx.subject import Subject


@pytest.mark.slow
async def test_plain_requests_are_measured_beside_explanations(
    capsys: pytest.CaptureFixture[str], subject_of: Callable[[str], Subject]
) -> None:
    subject = subject_of("classify")
    await explanation.measure(subject)
    found = re.findall(
        r"^(.+): p50 ([\d.]+) ms, p99 ([\d.]+) ms \((\d+) requests\)$", capsys.readouterr().out, re.MULTILINE
    )
    assert [name for name, *_ in found] == [
        "20 words explained, alone",
        "plain requests alone",
        "plain requests beside explanations",
        "plain requests beside as many texts",
    ]
    assert all(float(p50) <= float(p99) and int(count) > 0 for _, p50, p99, count in found)


async def test_only_a_classifier_is_measured(
    capsys: pytest.CaptureFixture[str], subject_of: Callable[[str], Subject]
) -> None:
    await explanation.measure(subject_of("embed"))
    assert capsys.readouterr().out == "only a classifier explains its classes\n"
