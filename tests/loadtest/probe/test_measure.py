"""Accuracy is that of all texts, and flips are a part of those that were changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engines.perturbations import PERTURBATIONS
from loadtest.labelled import Example
from loadtest.probe.measure import measure

EXAMPLES = [Example(1, "Buy this", "short"), Example(2, "nothing known here", "short"), Example(3, "x", "long")]


async def test_a_classifier_that_counts_characters_is_upset_by_padding_and_not_by_case() -> None:
    asked: list[int] = []

    async def predict(texts: Sequence[str]) -> list[str]:
        asked.append(len(texts))
        return ["long" if len(text) > 20 else "short" for text in texts]

    rows = {row.name: row for row in await measure(predict, EXAMPLES, 1)}
    assert list(rows) == ["as written", *PERTURBATIONS]
    assert [rows[name].accuracy for name in ("as written", "upper case", "padding")] == pytest.approx(
        [2 / 3, 2 / 3, 1 / 3]
    )
    assert [rows[name].changed for name in ("as written", "upper case", "padding")] == [0, 3, 3]
    assert [rows[name].flips for name in ("as written", "upper case", "padding")] == [None, 0, 1]
    # Only one text has a word of the list, and only that one is asked again.
    assert (rows["synonyms"].changed, asked[1 + list(PERTURBATIONS).index("synonyms")]) == (1, 1)


async def test_a_kind_of_change_that_changes_nothing_says_nothing() -> None:
    async def predict(texts: Sequence[str]) -> list[str]:
        return ["a" for _ in texts]

    rows = await measure(predict, [Example(1, "karte", "a")], 0)
    (row,) = (row for row in rows if row.name == "synonyms")
    assert (row.changed, row.flips, row.accuracy) == (0, None, 1.0)
