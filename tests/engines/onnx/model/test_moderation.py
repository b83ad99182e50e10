"""Categories are filled by the labels that the operator names, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.onnx.categories import CATEGORIES
from engines.onnx.model.folder import ModelFolder
from engines.onnx.model.moderation import Categories
from engines.onnx.model.session import Session
from engines.onnx.model.tasks import Classify
from engines.onnx.protocol.responses import Moderation
from tests.engines.onnx.tiny import write_graph

LABELS = ("fine", "insult", "threat")


def task(folder: Path, problem: str = "single_label_classification") -> Classify:
    (folder / "config.json").write_text(f'{{"problem_type": "{problem}"}}')
    session = Session(write_graph(folder, np.zeros((10, 3), np.float32), output="logits", pooled=True))
    made = Classify(ModelFolder(folder), session, LABELS)
    made.check_width(3)
    return made


def judged(made: Classify, *probabilities: float, threshold: float = 0.5) -> Moderation:
    categories = Categories({"harassment": ["insult", "threat"], "violence": ["threat"]}, threshold)
    categories.check(made)
    return categories.judge(made, np.array(probabilities, np.float32))


def test_labels_that_exclude_each_other_add_up(tmp_path: Path) -> None:
    verdict = judged(task(tmp_path), 0.4, 0.35, 0.25)
    assert verdict.category_scores["harassment"] == pytest.approx(0.6)
    assert (verdict.categories["harassment"], verdict.categories["violence"], verdict.flagged) == (True, False, True)


def test_of_labels_that_may_all_hold_the_greatest_counts(tmp_path: Path) -> None:
    verdict = judged(task(tmp_path, "multi_label_classification"), 0.9, 0.35, 0.25)
    assert verdict.category_scores["harassment"] == pytest.approx(0.35)
    assert not verdict.flagged


def test_the_threshold_is_the_operators(tmp_path: Path) -> None:
    assert not judged(task(tmp_path), 0.4, 0.35, 0.25, threshold=0.7).flagged
    assert judged(task(tmp_path), 0.4, 0.35, 0.25, threshold=0.2).categories["violence"]


def test_a_category_without_labels_was_not_judged(tmp_path: Path) -> None:
    verdict = judged(task(tmp_path), 0.4, 0.35, 0.25)
    assert set(verdict.categories) == set(CATEGORIES)
    judgements = {category for category, kinds in verdict.category_applied_input_types.items() if kinds}
    assert judgements == {"harassment", "violence"}
    assert {verdict.category_scores[category] for category in set(CATEGORIES) - judgements} == {0.0}


def test_a_mapping_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(ValueError, match="'violense' is none of OpenAI's categories"):
        Categories({"violense": ["a"]}, 0.5)


def test_a_label_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'hate' is filled by 'rude', which is none of the labels fine, insult"):
        Categories({"hate": ["rude"]}, 0.5).check(task(tmp_path))


def test_a_mapping_shows_what_fills_what() -> None:
    assert repr(Categories({"hate": ["a", "b"]}, 0.5)) == "<Categories hate by a and b; from 0.5>"
