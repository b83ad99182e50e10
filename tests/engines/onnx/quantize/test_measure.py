"""What is measured is what a client would see: right and wrong answers, flips, and what neighbours change."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engines.onnx.quantize.gate import Measured
from engines.onnx.quantize.measure import (
    BUDGET,
    NEIGHBOURS,
    Classes,
    Computes,
    Neighbourhood,
    Reading,
    Rows,
    Sample,
    by_length,
    measure,
    rows_of,
)
from tests.kit.eventually import PATIENCE

TEXTS: list[Sequence[int]] = [[n % 2, *range(n % 5)] for n in range(40)]
"""The first token says which class is right."""

LABELS: list[str | None] = ["even" if text[0] == 0 else "odd" for text in TEXTS]


class Right:
    """Answers rightly, and slowly enough that no clock can call it quick."""

    def compute(self, texts: Sequence[Sequence[int]]) -> Rows:
        return np.array([[1 - text[0], text[0]] for text in texts], np.float32)


class WrongForLong(Right):
    """Answers wrongly where a text has five tokens."""

    def compute(self, texts: Sequence[Sequence[int]]) -> Rows:
        return np.array(
            [row[::-1] if len(text) == 5 else row for text, row in zip(texts, super().compute(texts), strict=True)]
        )


class WrongInCompany(Right):
    """Answers wrongly whatever has neighbours of another length."""

    def compute(self, texts: Sequence[Sequence[int]]) -> Rows:
        rows = super().compute(texts)
        return rows if len(set(map(len, texts))) == 1 else rows[:, ::-1]


def measured(
    tmp_path: Path, model: Computes, labels: list[str | None], reading: Reading | None = None, max_mixed: int = 100
) -> Measured:
    folders = {"base": tmp_path / "base", "made": tmp_path / "made"}
    for name, size in (("base", 1000), ("made", 250)):
        folders[name].mkdir()
        (folders[name] / "model.onnx").write_bytes(b"0" * size)
    reading = reading or Classes(["even", "odd"])
    models = {"base": Right(), "made": model}
    sample = Sample(TEXTS, labels)
    found = measure(
        models, folders, sample, reading, max_length=16, max_mixed=max_mixed, threads=2, progress=lambda step: None
    )
    assert [each.name for each in found] == ["base", "made"]
    assert (found[0].speedup, found[0].size, found[0].accuracy_loss, found[0].flips) == (1, 1, 0, 0)
    return found[1]


def test_an_equal_model_loses_and_flips_nothing(tmp_path: Path) -> None:
    made = measured(tmp_path, Right(), LABELS)
    assert (made.accuracy, made.accuracy_loss, made.flips, made.neighbour_flips) == (1, 0, 0, 0)
    assert made.size == 0.25
    assert made.speedup > 0
    assert set(made.shapes) == {"1x16", "8x16"}


def test_wrong_answers_are_lost_points_and_flips(tmp_path: Path) -> None:
    made = measured(tmp_path, WrongForLong(), LABELS)
    assert (made.accuracy, made.accuracy_loss, made.flips) == (0.8, 20, 20)
    assert made.shift == pytest.approx(np.tanh(0.5), abs=1e-6)


def test_what_neighbours_change_is_seen_although_texts_alone_are_right(tmp_path: Path) -> None:
    made = measured(tmp_path, WrongInCompany(), LABELS)
    assert (made.accuracy, made.flips) == (1, 0)
    assert made.neighbour_flips > 90
    assert made.neighbour_shift == pytest.approx(np.tanh(0.5), abs=1e-6)


@pytest.mark.parametrize("reading", [Classes(["even", "odd"]), Neighbourhood(LABELS)])
def test_neighbours_are_given_to_as_many_texts_as_are_asked_for(tmp_path: Path, reading: Reading) -> None:
    batches: list[int] = []

    class Counting(WrongInCompany):
        def compute(self, texts: Sequence[Sequence[int]]) -> Rows:
            if len(texts) <= NEIGHBOURS and len(set(map(len, texts))) > 1:
                batches.append(len(texts))
            return super().compute(texts)

    made = measured(tmp_path, Counting(), LABELS, reading, max_mixed=12)
    assert sum(batches) == 12
    assert made.neighbour_flips == 100


def test_without_labels_accuracy_is_agreement_with_the_model(tmp_path: Path) -> None:
    made = measured(tmp_path, WrongForLong(), [None] * len(TEXTS))
    assert (made.accuracy, made.accuracy_loss) == (0.8, 20)


def test_texts_without_a_label_do_not_count_as_wrong(tmp_path: Path) -> None:
    labels = [label if len(text) < 5 else None for label, text in zip(LABELS, TEXTS, strict=True)]
    assert measured(tmp_path, WrongForLong(), labels).accuracy == 1


def test_an_embedder_answers_with_the_label_of_the_nearest_other_text(tmp_path: Path) -> None:
    made = measured(tmp_path, Right(), LABELS, Neighbourhood(LABELS))
    assert (made.accuracy, made.flips) == (1, 0)
    assert made.shift == pytest.approx(0, abs=1e-6)


def test_a_text_is_not_its_own_neighbour() -> None:
    rows = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    assert Neighbourhood(["a", "b", "c"]).answers(rows, rows).tolist() == ["b", "a", "b"]
    assert Neighbourhood([None, "b", None]).answers(rows, rows).tolist() == ["b", "text 0", "b"]


def test_batches_are_of_like_length_and_within_the_budget() -> None:
    texts = [[0] * (1 + n % 60) for n in range(200)]
    batches = by_length(texts)
    assert sorted(number for batch in batches for number in batch) == list(range(200))
    assert all(len(batch) * max(len(texts[number]) for number in batch) <= BUDGET for batch in batches)
    lengths = [len(texts[number]) for batch in batches for number in batch]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_come_in_the_order_of_the_batches(threads: int) -> None:
    rows = rows_of(Right(), TEXTS, [[3, 0], [2]], threads)
    assert rows[:, 1].tolist() == [TEXTS[number][0] for number in (3, 0, 2)]


def test_batches_are_computed_at_once_in_as_many_threads_as_are_given() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)

    class Meeting(Right):
        def compute(self, texts: Sequence[Sequence[int]]) -> Rows:
            both.wait()
            return super().compute(texts)

    assert len(rows_of(Meeting(), TEXTS, [range(20), range(20, 40)], threads=2)) == 40
