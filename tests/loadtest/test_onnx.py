"""The benchmark runs against the real engine, gateway and naive server, and says what it found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadtest.onnx import main
from tests.engines.onnx.tiny import write_classifier, write_embedder

pytestmark = pytest.mark.slow

TEXTS = "good cat\nbad dog cat\ncat\n" + "dog " * 9


def run(capsys: pytest.CaptureFixture[str], folder: Path, *parts: str, task: str = "embed") -> str:
    """Run parts of the benchmark as shortly as it can be, and give what it says."""
    (folder / "texts").write_text(TEXTS)
    options = ["--folder", str(folder), "--task", task, "--texts", str(folder / "texts"), "--seconds", "0.5"]
    options += ["--clients", "8", "--requests", "100", "--threads", "1"]
    assert main([*options, *(word for part in parts for word in ("--part", part))]) == 0
    return capsys.readouterr().out


def test_speeds_are_shares_of_the_ceiling(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = run(capsys, write_embedder(tmp_path), "throughput")
    assert "texts have 3 to 11 tokens, 5.8 on average" in said
    rows = re.findall(r"^(\S.*?)\s{2,}([\d.]+) texts/s .* ms CPU/text +([\d.]+)%.* 0 failed", said, re.MULTILINE)
    assert [name for name, _, _ in rows] == [
        "gateway, 8 clients, one text a request",
        "gateway, 1 clients, 32 texts a request",
        "engine alone, 8 clients, one text a request",
        "naive server",
    ]
    assert all(float(speed) > 0 for _, speed, _ in rows)


def test_a_classifier_is_measured_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = run(capsys, write_classifier(tmp_path), "alone", "padding", task="classify")
    assert len(re.findall(r"one text of 16 tokens, p50: +[\d.]+ ms", said)) == 4
    share = re.search(r"real tokens / computed tokens: ([\d.]+)", said)
    assert share is not None
    assert 0 < float(share[1]) <= 1


def test_memory_and_overload_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = run(capsys, write_embedder(tmp_path), "memory", "overload")
    assert re.search(r"memory after each tenth, MiB:( \d+){10}\n", said)
    assert re.search(r"from the first tenth to the last of 100 requests: [+-][\d.]+%", said)
    assert said.count(" times as much: goodput ") == 3 * 4
    assert re.search(r"goodput at 2\.0 times the sustainable load is [\d.]+% of its peak", said)
