"""Measures a classifier on texts as they are written, and on each kind of changed texts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from engines.perturbations import PERTURBATIONS
from loadtest.labelled import DataError, Example
from loadtest.served_models import AskError, ServedModels

Predict = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Gives the label of each text."""

AS_WRITTEN = "as written"


class Row(msgspec.Struct, frozen=True):
    """What one kind of change does: ``accuracy`` and ``flips`` are parts of 1.

    ``changed`` texts differ from those as written, and of these the part ``flips`` gets another label; ``None`` where
    no text differs, which says nothing.
    """

    name: str
    changed: int
    accuracy: float
    flips: float | None


class Result(msgspec.Struct, frozen=True):
    """All rows, the one of the texts as written first."""

    model: str
    data: str
    texts: int
    seed: int
    rows: list[Row]


async def probe(models: ServedModels, model: str, data: Path, examples: Sequence[Example], seed: int) -> Result:
    """Probe a served classifier on labelled examples of the file ``data``.

    Raises ``AskError``, and ``DataError`` for a label that the model does not have.
    """
    for example in {example.label: example for example in reversed(examples)}.values():
        try:
            await models.check_label(model, str(example.label))
        except AskError as error:
            if error.param != "explain.label":
                raise
            raise DataError(f"{data}:{example.line}: label: {error}") from error

    async def predict(texts: Sequence[str]) -> list[str]:
        return [each.label for each in await models.classes(model, texts)]

    return Result(model, data.name, len(examples), seed, await measure(predict, examples, seed))


async def measure(predict: Predict, examples: Sequence[Example], seed: int) -> list[Row]:
    """Ask for the label of each text as written, and under each perturbation."""
    written = [example.text for example in examples]
    labels = [example.label for example in examples]
    before = await predict(written)
    rows = [Row(AS_WRITTEN, 0, _share(before, labels), None)]
    for name, perturb in PERTURBATIONS.items():
        texts = [perturb(text, seed) for text in written]
        changed = [at for at, text in enumerate(texts) if text != written[at]]
        # What was not changed is not asked again: its answer is known.
        after = list(before)
        for at, label in zip(changed, await predict([texts[at] for at in changed]), strict=True):
            after[at] = label
        flips = sum(after[at] != before[at] for at in changed) / len(changed) if changed else None
        rows.append(Row(name, len(changed), _share(after, labels), flips))
    return rows


def _share(found: Sequence[str], wanted: Sequence[str | None]) -> float:
    return sum(label == right for label, right in zip(found, wanted, strict=True)) / len(wanted)
