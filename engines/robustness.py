"""Measures a classifier on texts as they are written, and on the same texts under each perturbation."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import msgspec

from engines.perturbations import PERTURBATIONS

AS_WRITTEN = "as written"


class Row(msgspec.Struct, frozen=True):
    """What one kind of change does: ``accuracy`` and ``flips`` are parts of 1.

    ``changed`` texts differ from those as written, and of these the part ``flips`` gets another answer; ``None`` where
    no text differs, which says nothing.
    """

    name: str
    changed: int
    accuracy: float
    flips: float | None


class PerturbedTexts:
    """Texts under each perturbation. It asks nobody: the classifier's answers are handed in.

    ``texts`` are those that a perturbation has changed; the answers to the others are those to the texts as written.
    """

    def __init__(self, written: Sequence[str], seed: int) -> None:
        """Change each text in each way; the same seed changes it in the same way."""
        self._changed = {
            name: {at: text for at, text in enumerate(perturb(text, seed) for text in written) if text != written[at]}
            for name, perturb in PERTURBATIONS.items()
        }
        self.texts = [text for changed in self._changed.values() for text in changed.values()]

    def __repr__(self) -> str:
        return f"<PerturbedTexts [{len(self.texts)} texts, {len(self._changed)} perturbations]>"

    def rows(self, wanted: Sequence[Hashable], written: Sequence[Hashable], changed: Sequence[Hashable]) -> list[Row]:
        """Compare the answers to the texts as written, and to ``texts``, with those that are right.

        The first row is that of the texts as written.
        """
        rows = [Row(AS_WRITTEN, 0, _share(written, wanted), None)]
        places = [(name, at) for name, texts in self._changed.items() for at in texts]
        answers = dict(zip(places, changed, strict=True))
        for name, texts in self._changed.items():
            after = [answers.get((name, at), answer) for at, answer in enumerate(written)]
            flips = sum(after[at] != written[at] for at in texts) / len(texts) if texts else None
            rows.append(Row(name, len(texts), _share(after, wanted), flips))
        return rows


def table(rows: Sequence[Row]) -> list[str]:
    """Write the rows of one classifier as the lines of a table in Markdown."""
    lines = ["| texts | changed | accuracy | points lost | answers changed |", "|---|--:|--:|--:|--:|"]
    for row, lost in zip(rows, points_lost(rows), strict=True):
        flips = "" if row.flips is None else f"{100 * row.flips:.1f} %"
        lines.append(f"| {row.name} | {row.changed} | {100 * row.accuracy:.1f} % | {lost} | {flips} |")
    return lines


def points_lost(rows: Sequence[Row]) -> list[str]:
    """Say how many points of accuracy each row has less than the texts as written; nothing for these."""
    return ["", *(f"{100 * (rows[0].accuracy - row.accuracy):.1f}" for row in rows[1:])]


def _share(found: Sequence[Hashable], wanted: Sequence[Hashable]) -> float:
    return sum(answer == right for answer, right in zip(found, wanted, strict=True)) / len(wanted)
