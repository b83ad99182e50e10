"""What was measured while training, as the rows of OpenAI's result file ``metrics.csv``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")


class Row(NamedTuple):
    """One step; the last two where it was also validated. For a classifier a text has one token: its label."""

    step: int
    train_loss: float
    train_accuracy: float
    valid_loss: float | None = None
    valid_accuracy: float | None = None


def write_metrics(file: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV, what was not measured empty."""
    with file.open("w", newline="", encoding="utf-8") as content:
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            writer.writerow(
                ["" if value is None else value if isinstance(value, int) else f"{value:.6g}" for value in row]
            )
