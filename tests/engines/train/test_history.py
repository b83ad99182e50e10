"""The result file has OpenAI's columns."""

from __future__ import annotations

from pathlib import Path

from engines.train.history import Row, write_metrics


def test_what_was_not_measured_is_empty(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [Row(1, 0.6931472, 0.5), Row(2, 0.25, 1.0, 0.3, 0.96875)])
    assert (tmp_path / "metrics.csv").read_text() == (
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,0.693147,0.5,,\n2,0.25,1,0.3,0.96875\n"
    )
