"""Measures served classifiers on labelled texts, as they are written and on each kind of changed texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engines.robustness import PerturbedTexts, Row
from loadtest.labelled import DataError, Example
from loadtest.served_models import AskError, ServedModels


class Result(msgspec.Struct, frozen=True):
    """All rows of a model, the one of the texts as written first."""

    model: str
    data: str
    texts: int
    seed: int
    rows: list[Row]


async def probe(
    served: ServedModels, models: Sequence[str], data: Path, examples: Sequence[Example], seed: int
) -> list[Result]:
    """Probe served classifiers, one after the other, on the same labelled examples of the file ``data``.

    Raises ``AskError``, and ``DataError`` for a label that a model does not have; either before any is measured, where
    that can be known.
    """
    for model in models:
        await _check_labels(served, model, data, examples)
    written = [example.text for example in examples]
    perturbed = PerturbedTexts(written, seed)
    results = []
    for model in models:
        answers = [each.label for each in await served.classes(model, [*written, *perturbed.texts])]
        rows = perturbed.rows([example.label for example in examples], answers[: len(written)], answers[len(written) :])
        results.append(Result(model, data.name, len(examples), seed, rows))
    return results


async def _check_labels(served: ServedModels, model: str, data: Path, examples: Sequence[Example]) -> None:
    for example in {example.label: example for example in reversed(examples)}.values():
        try:
            await served.check_label(model, str(example.label))
        except AskError as error:
            if error.param != "explain.label":
                raise
            raise DataError(f"{data}:{example.line}: label: {model}: {error}") from error
