"""Accuracy is that of all texts, and flips are a part of those that were changed."""

from __future__ import annotations

import pytest

from engines.perturbations import PERTURBATIONS
from engines.robustness import PerturbedTexts, Row, points_lost, table

WRITTEN = ["Buy this", "nothing known here", "x"]
WANTED = ["short", "short", "long"]


def by_length(texts: list[str]) -> list[str]:
    return ["long" if len(text) > 20 else "short" for text in texts]


def rows_of(written: list[str], wanted: list[str]) -> dict[str, Row]:
    perturbed = PerturbedTexts(written, 1)
    return {row.name: row for row in perturbed.rows(wanted, by_length(written), by_length(perturbed.texts))}


def test_a_classifier_that_counts_characters_is_upset_by_padding_and_not_by_case() -> None:
    rows = rows_of(WRITTEN, WANTED)
    assert list(rows) == ["as written", *PERTURBATIONS]
    assert [rows[name].accuracy for name in ("as written", "upper case", "padding")] == pytest.approx(
        [2 / 3, 2 / 3, 1 / 3]
    )
    assert [rows[name].changed for name in ("as written", "upper case", "padding")] == [0, 3, 3]
    assert [rows[name].flips for name in ("as written", "upper case", "padding")] == [None, 0, 1]


def test_what_is_not_changed_is_not_asked_again() -> None:
    perturbed = PerturbedTexts(WRITTEN, 1)
    # Only one text has a word of the list of synonyms.
    assert perturbed.texts.count("Purchase this") == 1
    assert set(perturbed.texts).isdisjoint(WRITTEN)
    assert rows_of(WRITTEN, WANTED)["synonyms"].changed == 1
    assert repr(perturbed) == f"<PerturbedTexts [{len(perturbed.texts)} texts, 6 perturbations]>"


def test_a_kind_of_change_that_changes_nothing_says_nothing() -> None:
    row = rows_of(["karte"], ["short"])["synonyms"]
    assert (row.changed, row.flips, row.accuracy) == (0, None, 1.0)


def test_an_answer_belongs_to_its_text() -> None:
    written = ["Film", "karte", "Film again"]
    perturbed = PerturbedTexts(written, 0)
    # Each text is its own answer, so that every changed text is answered otherwise, and none rightly.
    rows = {row.name: row for row in perturbed.rows(written, written, perturbed.texts)}
    assert (rows["synonyms"].changed, rows["synonyms"].flips) == (2, 1.0)
    assert rows["synonyms"].accuracy == pytest.approx(1 / 3)
    assert rows["upper case"] == Row("upper case", 3, 0.0, 1.0)


def test_several_labels_are_right_together() -> None:
    perturbed = PerturbedTexts(["karte"], 0)
    changed = [frozenset({"a"}) for _ in perturbed.texts]
    rows = perturbed.rows([frozenset({"a", "b"})], [frozenset({"b", "a"})], changed)
    accuracies = {row.name: row.accuracy for row in rows}
    assert (accuracies["as written"], accuracies["padding"]) == (1.0, 0.0)


def test_an_answer_that_is_missing_is_an_error() -> None:
    perturbed = PerturbedTexts(WRITTEN, 1)
    with pytest.raises(ValueError, match="shorter"):
        perturbed.rows(WANTED, WANTED, [])


def test_a_row_of_the_table_tells_what_was_changed_lost_and_answered_otherwise() -> None:
    rows = [Row("as written", 0, 0.9, None), Row("typos", 160, 0.855, 0.125), Row("x", 0, 0.95, None)]
    assert table(rows) == [
        "| texts | changed | accuracy | points lost | answers changed |",
        "|---|--:|--:|--:|--:|",
        "| as written | 0 | 90.0 % |  |  |",
        "| typos | 160 | 85.5 % | 4.5 | 12.5 % |",
        "| x | 0 | 95.0 % | -5.0 |  |",
    ]
    assert points_lost(rows) == ["", "4.5", "-5.0"]
