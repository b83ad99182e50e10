"""Runs a variant as the server would, each batch in one thread, and compares it with the model it was made from.

Speed is measured side by side: each batch runs in every model before the next batch does, in several rounds of which
the fastest counts, so that other load on the machine slows all of them alike.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.onnx.quantize.gate import Measured

TokenIds = Sequence[int]
Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.str_]

BUDGET = 256
"""Tokens of a batch, padding included: what the server's batches have at most."""

NEIGHBOURS = 8
"""Texts of the batches of mixed lengths that show what neighbours do."""

SHAPES = ((1, 16), (1, 128), (8, 16), (2, 128))
"""Texts and tokens of the batches that are timed besides the data's own."""

ROUNDS = 3
"""How often a batch is timed."""

_TIMED_TEXTS = 64
_SEED = 20


class Computes(Protocol):
    """A loaded model, as far as it matters here."""

    def compute(self, texts: Sequence[TokenIds]) -> Iterable[Rows]:
        """Run texts as one batch and give a row for each; several threads may do so at once."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Texts as token ids, and what each is labelled with; ``None`` where nothing is known about it."""

    texts: list[TokenIds]
    labels: list[str | None]


class Reading(Protocol):
    """What the rows of a model say."""

    def answers(self, rows: Rows, index: Rows, /) -> Labels:
        """Name each text's answer; ``index`` are the rows of the same texts that an embedder searches in."""

    def shift(self, rows: Rows, others: Rows) -> float:
        """Give the greatest difference between two answers to the same text."""


class Classes:
    """The answer is the likeliest class."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = np.array(labels)

    def answers(self, rows: Rows, _index: Rows) -> Labels:
        """Name the likeliest class of each text."""
        answers: Labels = self._labels[rows.argmax(axis=1)]
        return answers

    def shift(self, rows: Rows, others: Rows) -> float:
        """Give the greatest difference of a probability."""
        return float(np.abs(_softmax(rows) - _softmax(others)).max())


class Neighbourhood:
    """The answer is the label of the nearest other text, by cosine; a text without a label stands for itself."""

    def __init__(self, labels: Sequence[str | None]) -> None:
        self._labels = np.array([f"text {n}" if label is None else label for n, label in enumerate(labels)])

    def answers(self, rows: Rows, index: Rows) -> Labels:
        """Name the label of the text that is nearest in the index, not counting the text itself."""
        likeness = _unit(rows) @ _unit(index).T
        np.fill_diagonal(likeness, -2)
        answers: Labels = self._labels[likeness.argmax(axis=1)]
        return answers

    def shift(self, rows: Rows, others: Rows) -> float:
        """Give the greatest loss of cosine between two vectors of the same text."""
        return float(1 - (_unit(rows) * _unit(others)).sum(axis=1).min())


def by_length(texts: Sequence[TokenIds]) -> list[list[int]]:
    """Cut texts into batches of like length under the token budget, as the server does when all cores are busy."""
    batches: list[list[int]] = []
    for number in sorted(range(len(texts)), key=lambda number: len(texts[number])):
        if batches and (len(batches[-1]) + 1) * len(texts[number]) <= BUDGET:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches


def rows_of(model: Computes, texts: Sequence[TokenIds], batches: Sequence[Sequence[int]], threads: int = 1) -> Rows:
    """Run batches, each in one of ``threads``, and give a row for each text of them, in the order of the batches.

    The rows have the shape (texts, width).
    """

    def computed(batch: Sequence[int]) -> Iterable[Rows]:
        return model.compute([texts[number] for number in batch])

    with ThreadPoolExecutor(threads) as pool:
        return np.stack([row for rows in pool.map(computed, batches) for row in rows])


def seconds_of(models: Mapping[str, Computes], batches: Sequence[Sequence[TokenIds]]) -> dict[str, float]:
    """Time batches in every model, side by side; the sum of each batch's fastest round, in seconds."""
    totals = dict.fromkeys(models, 0.0)
    for batch in batches:
        best = dict.fromkeys(models, float("inf"))
        for _ in range(ROUNDS):
            for name, model in models.items():
                start = time.perf_counter()
                model.compute(batch)
                best[name] = min(best[name], time.perf_counter() - start)
        totals = {name: totals[name] + best[name] for name in models}
    return totals


def measure(
    models: Mapping[str, Computes],
    folders: Mapping[str, Path],
    sample: Sample,
    reading: Reading,
    *,
    max_length: int,
    max_mixed: int,
    threads: int,
    progress: Callable[[str], None],
) -> list[Measured]:
    """Measure all models, which take ``max_length`` tokens; the first is the one that the others were made from.

    Answers are computed in as many ``threads`` as are given, times in one. They are those to each text alone; what
    neighbours change is seen with ``max_mixed`` texts at most.
    """
    progress(f"timing {len(models)} models side by side")
    texts = sample.texts
    seconds = seconds_of(models, _timed(texts))
    shapes = {
        f"{count}x{length}": seconds_of(models, [_of_shape(texts, count, length)])
        for count, length in SHAPES
        if length <= max_length
    }
    base = next(iter(models))
    alone = [[number] for number in range(len(texts))]
    base_rows = rows_of(models[base], texts, alone, threads)
    base_answers = reading.answers(base_rows, base_rows)
    base_accuracy = _accuracy(base_answers, sample.labels, base_answers)
    batches = _mixed(len(texts), max_mixed)
    mixed = [number for batch in batches for number in batch]
    found = []
    for name, model in models.items():
        progress(f"{name}: comparing its answers")
        rows = base_rows if name == base else rows_of(model, texts, alone, threads)
        answers = reading.answers(rows, rows)
        accuracy = _accuracy(answers, sample.labels, base_answers)
        among = rows.copy()
        among[mixed] = rows_of(model, texts, batches, threads)
        moved = (reading.answers(among, rows) != answers)[mixed]
        size = _bytes(folders[name])
        found.append(
            Measured(
                name=name,
                bytes=size,
                size=size / _bytes(folders[base]),
                seconds=seconds[name],
                speedup=seconds[base] / seconds[name],
                accuracy=accuracy,
                accuracy_loss=round(100 * (base_accuracy - accuracy), 6),
                flips=100 * float((answers != base_answers).mean()),
                shift=reading.shift(rows, base_rows),
                neighbour_flips=100 * float(moved.mean()),
                neighbour_shift=reading.shift(rows, among),
                shapes={shape: 1000 * times[name] for shape, times in shapes.items()},
            )
        )
    return found


def _timed(texts: Sequence[TokenIds]) -> list[list[TokenIds]]:
    """Draw batches of about as many texts as are timed, at random with a fixed seed."""
    batches = by_length(texts)
    drawn: list[list[TokenIds]] = []
    for batch in random.Random(_SEED).sample(batches, len(batches)):  # noqa: S311
        if sum(map(len, drawn)) >= _TIMED_TEXTS:
            break
        drawn.append([texts[number] for number in batch])
    return drawn


def _accuracy(answers: Labels, labels: Sequence[str | None], model_answers: Labels) -> float:
    """Give the share of labelled texts that are answered with their label; without any, of the model's own answers."""
    known = [number for number, label in enumerate(labels) if label is not None]
    if not known:
        return float((answers == model_answers).mean())
    return sum(str(answers[number]) == labels[number] for number in known) / len(known)


def _mixed(count: int, most: int) -> list[list[int]]:
    """Put so many texts at most into batches with neighbours of any length, at random with a fixed seed."""
    order = random.Random(_SEED).sample(range(count), min(count, most))  # noqa: S311
    return [order[start : start + NEIGHBOURS] for start in range(0, len(order), NEIGHBOURS)]


def _of_shape(texts: Sequence[TokenIds], count: int, length: int) -> list[TokenIds]:
    """Make texts of one length: the ids of real texts one after another, cut."""
    ids = [number for text in texts for number in text][: count * length]
    ids = (ids * (count * length // len(ids) + 1))[: count * length]
    return [ids[start : start + length] for start in range(0, count * length, length)]


def _bytes(folder: Path) -> int:
    """Give the size of a model's graph with the weights that lie beside it."""
    return sum(file.stat().st_size for file in folder.glob("model.onnx*"))


def _softmax(rows: Rows) -> Rows:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    probabilities: Rows = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _unit(rows: Rows) -> Rows:
    scaled: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled
