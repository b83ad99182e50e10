"""Which of OpenAI's moderation categories a classifier's labels fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engines.onnx.categories import CATEGORIES, check_filled
from engines.onnx.model.tasks import Classify, Row
from engines.onnx.protocol.responses import Moderation


class Categories:
    """A mapping from categories to the labels that fill them, and the score from which a category is flagged."""

    def __init__(self, filled: Mapping[str, Sequence[str]], threshold: float) -> None:
        """Check the mapping. Raises ``ValueError`` for a category that is unknown or empty."""
        check_filled(filled)
        self._filled = {category: tuple(labels) for category, labels in filled.items()}
        self._threshold = threshold

    def __repr__(self) -> str:
        filled = ", ".join(f"{category} by {' and '.join(labels)}" for category, labels in self._filled.items())
        return f"<Categories {filled}; from {self._threshold}>"

    def check(self, task: Classify) -> None:
        """Raise ``ValueError`` if a label is none of the model's."""
        for category, labels in self._filled.items():
            for label in labels:
                if label not in task.labels:
                    known = ", ".join(task.labels)
                    raise ValueError(f"{category!r} is filled by {label!r}, which is none of the labels {known}")

    def judge(self, task: Classify, probabilities: Row) -> Moderation:
        """Give the verdict on one text.

        Of several labels the greatest probability counts; where the labels exclude each other, their sum.
        """
        of_label = dict(zip(task.labels, probabilities.tolist(), strict=True))
        join = sum if task.exclusive else max
        scores = dict.fromkeys(CATEGORIES, 0.0)
        for category, labels in self._filled.items():
            scores[category] = min(1.0, join([of_label[label] for label in labels]))
        flags = {category: category in self._filled and score >= self._threshold for category, score in scores.items()}
        kinds = {category: ["text"] if category in self._filled else [] for category in scores}
        return Moderation(any(flags.values()), flags, scores, kinds)
