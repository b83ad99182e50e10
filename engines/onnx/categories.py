"""The moderation categories of OpenAI's API; it imports nothing, because configurations are checked with it too."""

from __future__ import annotations

from collections.abc import Collection, Mapping

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""All categories of OpenAI's response."""

OWN_PREFIX = "x-"
"""Begins the name of a category that is not OpenAI's, so that a misspelt one is noticed."""


def check_filled(filled: Mapping[str, Collection[str]]) -> None:
    """Check a mapping from categories to the labels that fill them. Raises ``ValueError``."""
    for category, labels in filled.items():
        if category not in CATEGORIES and not category.startswith(OWN_PREFIX):
            raise ValueError(
                f"{category!r} is none of OpenAI's categories ({', '.join(CATEGORIES)}), "
                f"and no name of your own, which begins with {OWN_PREFIX!r}"
            )
        if not labels:
            raise ValueError(f"{category!r} names no labels")
