"""The card tells what was measured, and its pictures lie beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from engines.robustness import Row as Perturbed
from engines.train.classifier.card import Report, page, write_card
from engines.train.classifier.int8 import Int8
from engines.train.classifier.prepare import Prepared
from engines.train.classifier.robustness import Robustness
from engines.train.classifier.scores import Bin, Measured, Scores, Shrunk
from engines.train.examples import Example
from engines.train.history import Row
from engines.train.job import Base, Distill, Job, Prune

pytestmark = pytest.mark.slow

ROWS = [Perturbed("as written", 0, 0.9, None), Perturbed("typos", 150, 0.85, 0.1), Perturbed("synonyms", 0, 0.9, None)]

REPORT = Report(
    job=Job("ftjob-1", "ft:minilm:me::1", "classifier", Base("minilm", "/m"), "/t.jsonl", seed=7),
    data=Prepared(
        [Example("a", ("x|y",))] * 9, [Example("b", ("z",))] * 3, ["x|y", "z"], False, [1, 1], ["3 texts came twice."]
    ),
    method="full",
    kept="fine-tuned model",
    probe=0.75,
    fine_tuned=0.875,
    scores=Scores(0.875, 0.86, 0.04, [Bin(3, 0.9, 0.8)], [0.9, 0.82], [[2, 0], [1, 0]]),
    robustness=Robustness(200, ROWS),
    history=[Row(1, 0.7, 0.5), Row(2, 0.5, 0.75, 0.6, 0.8)],
    hyperparameters={"n_epochs": 2, "learning_rate_multiplier": 0.5},
    tokens=99,
    seconds={"train": 12.34},
    difference=2e-6,
    int8=Int8(True, 2.5, 0.26, 0.1, 0.3),
)


def test_the_page_has_all_figures() -> None:
    text = page(REPORT, ["loss.svg"])
    for told in (
        "# ft:minilm:me::1",
        "made of `minilm` by the method `full`;\nwhat answers is the fine-tuned model. Job `ftjob-1`, seed 7.",
        "On 3 examples that were not trained:",
        "| accuracy | 87.5% |",
        "| macro-F1 | 0.860 |",
        "| calibration error (ECE) | 0.040 |",
        "| accuracy of the probe | 75.0% |",
        "| z | 0.820 |\n| x\\|y | 0.900 |",
        "![loss](loss.svg)",
        "It is served. Against float32 it is 2.50 times as fast and 0.26 times as large, loses 0.10 points",
        "- 9 examples were trained: 2 steps, 99 tokens.",
        "- Hyperparameters: n_epochs 2, learning_rate_multiplier 0.5.",
        "- Time: train 12.3 s.",
        "- 3 texts came twice.",
    ):
        assert told in text


def test_the_page_tells_how_robust_the_model_is() -> None:
    text = page(REPORT, [])
    for told in (
        "## How robust it is\n\nOn 200 of these examples, as they are written and changed, in float32; one text",
        "| texts | changed | accuracy | points lost | answers changed |\n",
        "| as written | 0 | 90.0 % |  |  |\n",
        "| typos | 150 | 85.0 % | 5.0 | 10.0 % |\n| synonyms | 0 | 90.0 % | 0.0 |  |\n\n![robustness](robustness.svg)",
    ):
        assert told in text
    assert "augment" not in text


def test_a_model_that_saw_typos_stands_beside_the_probe_that_did_not(tmp_path: Path) -> None:
    probe = [Perturbed("as written", 0, 0.88, None), Perturbed("typos", 150, 0.7, 0.2), ROWS[2]]
    write_card(replace(REPORT, robustness=Robustness(200, ROWS, probe)), tmp_path)
    text = (tmp_path / "card.md").read_text()
    for told in (
        "| answers changed | the probe, which saw no typos | its points lost |\n|---|--:|--:|--:|--:|--:|--:|\n",
        "| as written | 0 | 90.0 % |  |  | 88.0 % |  |\n| typos | 150 | 85.0 % | 5.0 | 10.0 % | 70.0 % | 18.0 |\n",
        "it saw no typos, but was not fine-tuned either.",
    ):
        assert told in text
    drawn = (tmp_path / "robustness.svg").read_text()
    assert "this model, typos: 85.0 %" in drawn
    assert "the probe, which saw no typos, typos: 70.0 %" in drawn


def test_what_was_not_done_is_said() -> None:
    assert "| accuracy of the fine-tuned model | not trained |" in page(replace(REPORT, fine_tuned=None), [])
    assert "There is none." in page(replace(REPORT, int8=None), [])
    assert "did not pass the gate" in page(replace(REPORT, int8=Int8(False, 1, 0.3, 2, 5)), [])


def test_a_smaller_model_is_compared_with_the_whole_one() -> None:
    before, after = Measured(0.9, 22_700_000, 90.9, 8.0), Measured(0.875, 17_400_000, 69.5, 4.1)
    pruned = msgspec.structs.replace(REPORT.job, prune=Prune(3))
    text = page(replace(REPORT, job=pruned, shrunk=Shrunk(before, after, "3 layers")), [])
    assert "what answers is the fine-tuned model, made smaller. Job" in text
    assert "by pruning it; 3 layers are left" in text
    for told in (
        "| accuracy | 90.0% | 87.5% |",
        "| parameters | 22,700,000 | 17,400,000 |",
        "| size in float32, MB | 90.9 | 69.5 |",
        "| ms for a text alone, median | 8.00 | 4.10 |",
    ):
        assert told in text
    distilled = msgspec.structs.replace(REPORT.job, distill=Distill(2))
    text = page(replace(REPORT, job=distilled, shrunk=Shrunk(before, after, "2 layers")), [])
    assert "by distilling it into a student; 2 layers are left" in text
    assert "What smaller costs" not in page(REPORT, [])


def test_pictures_are_written_where_there_is_something_to_see(tmp_path: Path) -> None:
    write_card(REPORT, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "card.md",
        "calibration.svg",
        "confusion.svg",
        "loss.svg",
        "robustness.svg",
    }
    assert all(f"({path.name})" in (tmp_path / "card.md").read_text() for path in tmp_path.glob("*.svg"))


def test_without_steps_and_a_matrix_there_are_fewer(tmp_path: Path) -> None:
    write_card(replace(REPORT, history=[], scores=replace(REPORT.scores, confusion=[])), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"card.md", "calibration.svg", "robustness.svg"}
