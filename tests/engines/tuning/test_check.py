"""Examples are looked at by the code that trains on them."""

from __future__ import annotations

from pathlib import Path

from engines.tuning.check import check_examples
from tests.kit.tuning import EXAMPLES


def test_good_examples_are_not_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(EXAMPLES)
    assert check_examples("classifier", tmp_path / "a.jsonl", None) is None


def test_bad_examples_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(EXAMPLES + b'{"text": 1, "label": "good"}\n')
    error = check_examples("classifier", tmp_path / "a.jsonl", None)
    assert error is not None
    assert (error.code, error.param) == ("invalid_training_file", "training_file")
    assert "line 21" in error.message
