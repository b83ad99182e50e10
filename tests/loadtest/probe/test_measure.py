"""Several models are asked about the same texts, and none before the labels of all are known to be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.labelled import DataError, Example
from loadtest.probe.measure import probe
from loadtest.served_models import served_at
from tests.loadtest.served import good_or_bad

DATA = Path("some/data.jsonl")
EXAMPLES = [Example(1, "good good film", "good"), Example(2, "Bad", "bad"), Example(5, "cat", "bad")]


async def test_each_model_has_a_result_of_the_same_texts(tmp_path: Path) -> None:
    models = ("judge", "other")
    async with good_or_bad(tmp_path, classifiers=models) as running, served_at(running.address, None) as served:
        first, second = await probe(served, ["other", "judge"], DATA, EXAMPLES, 4)
    assert (first.model, second.model) == ("other", "judge")
    assert (first.data, first.texts, first.seed) == ("data.jsonl", 3, 4)
    assert [row.name for row in first.rows][:3] == ["as written", "typos", "upper case"]
    assert first.rows[0].accuracy == pytest.approx(2 / 3)
    # Both are the same classifier.
    assert first.rows == second.rows


async def test_a_label_that_the_last_model_lacks_is_told_with_its_line_and_model(tmp_path: Path) -> None:
    examples = [*EXAMPLES, Example(7, "dog", "ugly")]
    async with good_or_bad(tmp_path) as running, served_at(running.address, None) as served:
        with pytest.raises(DataError, match=r"some/data\.jsonl:7: label: judge: .*no label 'ugly'"):
            await probe(served, ["judge"], DATA, examples, 0)
