"""Texts are chosen by what a served classifier and a served embedder say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.labelled import Example
from loadtest.served_models import AskError, served_at
from loadtest.suggest import suggest
from tests.loadtest.served import good_or_bad

EXAMPLES = [Example(2, "good good"), Example(3, "cat"), Example(5, "bad bad"), Example(9, "cat cat")]


async def test_the_unsure_and_unlike_come_first_with_what_is_predicted(tmp_path: Path) -> None:
    async with good_or_bad(tmp_path) as running, served_at(running.address, None) as models:
        first, second = await suggest(models, "judge", "vectors", EXAMPLES, 2)
        assert (first.line, first.text, first.predicted, first.uncertainty) == (3, "cat", "good", 1.0)
        # As unsure as the first, and nearly the same: it is passed over for a text that is unlike.
        assert second.line != 9
        everything = await suggest(models, "judge", "vectors", EXAMPLES, 50)
        assert sorted(each.line for each in everything) == [2, 3, 5, 9]


async def test_without_a_classifier_nothing_is_predicted(tmp_path: Path) -> None:
    async with good_or_bad(tmp_path) as running, served_at(running.address, None) as models:
        found = await suggest(models, None, "vectors", EXAMPLES, 2)
        assert [(each.predicted, each.uncertainty) for each in found] == [(None, None)] * 2


async def test_a_model_that_does_not_embed_is_told(tmp_path: Path) -> None:
    async with good_or_bad(tmp_path) as running, served_at(running.address, None) as models:
        with pytest.raises(AskError, match="The model 'judge' does not support /v1/suggest"):
            await suggest(models, "judge", "judge", EXAMPLES, 2)
