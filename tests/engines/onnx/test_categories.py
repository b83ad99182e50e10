"""A moderation mapping is checked before anything is started with it."""

from __future__ import annotations

import pytest

from engines.onnx.categories import CATEGORIES, check_filled


def test_openais_categories_and_those_of_ones_own_are_known() -> None:
    check_filled({category: ["a"] for category in CATEGORIES} | {"x-own": ("b", "c")})


@pytest.mark.parametrize(
    ("filled", "reason"),
    [
        ({"violense": ["a"]}, "'violense' is none of OpenAI's categories .* begins with 'x-'"),
        ({"violence": []}, "'violence' names no labels"),
    ],
)
def test_a_mapping_that_cannot_be_right_is_refused(filled: dict[str, list[str]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_filled(filled)
