"""The card tells what the adapter changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.train.tiny_models import needed

needed()

from engines.train.chat.card import Report, page, write_card  # noqa: E402
from engines.train.chat.course import Judged  # noqa: E402
from engines.train.history import Row  # noqa: E402
from engines.train.job import Base, Job  # noqa: E402

pytestmark = pytest.mark.slow

REPORT = Report(
    job=Job("ftjob-1", "ft:smol:me::1", "lora", Base("smol", "/m"), "/t.jsonl", seed=7),
    rank=8,
    trained=90,
    validated=10,
    before=Judged(2.5, 0.5, 0.2),
    after=Judged(0.5, 0.9, 0.8),
    history=[Row(1, 2.0, 0.5), Row(2, 1.0, 0.75, 0.5, 0.9)],
    hyperparameters={"n_epochs": 3},
    tokens=99,
    seconds={"prepare": 4.5, "train": 12.34},
    change=3.25,
)


def test_before_and_after_stand_side_by_side() -> None:
    text = page(REPORT)
    assert "A LoRA adapter of rank 8 on all linear layers of `smol`. Job `ftjob-1`, seed\n7." in text
    assert "| answers that are exact | 20.0% | 80.0% |" in text
    assert "| loss | 2.500 | 0.500 |" in text
    assert "- 90 conversations were trained: 2 steps, 99 tokens." in text
    assert "- Time: prepare 4.5 s, train 12.3 s." in text


def test_the_plot_lies_beside_the_card(tmp_path: Path) -> None:
    write_card(REPORT, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"card.md", "loss.svg"}
