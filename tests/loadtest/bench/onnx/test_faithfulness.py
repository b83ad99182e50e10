"""What changes a class is counted when a fifth of the words goes: the weightiest, and as many at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from loadtest.bench.onnx import faithfulness
from loadtest.bench.onnx.subject import Subject


async def test_the_weightiest_words_change_what_random_ones_do_not(
    capsys: pytest.CaptureFixture[str], subject_of: Callable[[str], Subject]
) -> None:
    # One word in ten makes a text bad; a text without any is taken for good.
    texts = ["cat dog cat dog cat bad cat dog cat dog"] * 40 + ["too short"]
    await faithfulness.measure(replace(subject_of("classify"), texts=texts))
    first, of_label = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "all texts               40 texts: without a fifth of the words 100.0% change their class, "
    )
    assert of_label.startswith("bad                     40 texts: without a fifth of the words 100.0% ")
    by_chance = float(first.partition("class, ")[2].partition("%")[0])
    assert 0 < by_chance < 50


async def test_texts_that_are_too_short_are_left_out(
    capsys: pytest.CaptureFixture[str], subject_of: Callable[[str], Subject]
) -> None:
    await faithfulness.measure(replace(subject_of("classify"), texts=["good", "bad bad bad bad"]))
    assert capsys.readouterr().out == "no text has 5 words\n"


async def test_only_a_classifier_has_explanations(
    capsys: pytest.CaptureFixture[str], subject_of: Callable[[str], Subject]
) -> None:
    await faithfulness.measure(subject_of("embed"))
    assert capsys.readouterr().out == "only a classifier explains its classes\n"
