"""The card says what was promoted and why not, in words, in JSON and as a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from engines.onnx.quantize.card import Card, Machine, machine, page, plot
from engines.onnx.quantize.gate import Gate
from tests.engines.onnx.quantize.test_gate import GOOD

BASE = replace(GOOD, name="float32", bytes=100_000_000, size=1.0, speedup=1.0, accuracy_loss=0.0, flips=0.0)
CARD = Card(
    name="guard",
    task="classify",
    made="2026-11-24",
    source="5" * 64,
    graph="6" * 64,
    machine=Machine("A processor", True, "1.32.0", "3.11.7"),
    data={"prompts.csv": (200, 150)},
    calibration=20,
    gate=Gate(),
    model=BASE,
    variants=[GOOD, replace(GOOD, name="slow", speedup=1.5)],
    promoted="good",
)


def test_it_says_how_many_texts_got_neighbours_and_how_often_a_batch_was_timed() -> None:
    of_before = page(CARD, "a.svg")
    assert "*Neighbours* compares 200 texts alone" in of_before
    assert "each batch's fastest of 5 rounds" in of_before
    said = page(replace(CARD, mixed=150, rounds=3), "a.svg")
    assert "*Neighbours* compares 150 texts alone" in said
    assert "each batch's fastest of 3 rounds" in said
    assert "*Neighbours* compares 200 texts alone" in page(replace(CARD, mixed=3000), "a.svg")


def test_it_says_which_variant_was_promoted_and_what_the_others_miss() -> None:
    said = page(CARD, "a.svg")
    assert "**`good` was promoted.**" in said
    assert "- `good`: nothing, it passes." in said
    assert "- `slow`: 1.50 times faster, at least 2 wanted." in said
    assert "| `float32` | 100.0 | 1.00 | 1.00 | 90.00 % | +0.00 | 0.00 % | 0.10 % | 0.01 |  |" in said
    assert "- `prompts.csv`: 200 texts, 150 of them labelled" in said
    assert "On A processor (with VNNI)" in said


def test_it_says_that_nothing_was_promoted() -> None:
    assert "**No variant was promoted.**" in page(replace(CARD, promoted=None, graph=None), "a.svg")


@pytest.mark.parametrize(
    ("changes", "meaning"),
    [
        ({}, "*Accuracy* is the share of 150 labelled texts (of 200) that get their label; one text is 0.67 points."),
        (
            {"task": "embed"},
            "*Accuracy* is the share of 150 labelled texts whose nearest other text has the same label;",
        ),
        ({"data": {"a.csv": (9, 0)}}, "*accuracy* is the share of answers that are the model's own."),
    ],
)
def test_it_says_what_accuracy_means(changes: dict[str, object], meaning: str) -> None:
    assert meaning in page(replace(CARD, **changes), "a.svg")  # type: ignore[arg-type]


def test_the_picture_has_a_dot_for_each_variant_in_the_colour_of_its_verdict() -> None:
    root = ET.fromstring(plot(CARD))
    space = "{http://www.w3.org/2000/svg}"
    assert [dot.get("fill") for dot in root.iter(f"{space}circle")] == ["#1a7f37", "#b3261e"]
    texts = [text.text for text in root.iter(f"{space}text")]
    assert {"good", "slow", "times faster than float32", "points of accuracy lost"} <= set(texts)


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    CARD.write(tmp_path / "v1.2")
    content = json.loads((tmp_path / "v1.2.json").read_text())
    assert (content["promoted"], content["gate"]["min_speedup"], content["variants"][1]["name"]) == ("good", 2, "slow")
    assert {file.name for file in tmp_path.iterdir()} == {"v1.2.json", "v1.2.md", "v1.2.svg"}
    assert "![Accuracy lost against speed, with the gate](v1.2.svg)" in (tmp_path / "v1.2.md").read_text()


def test_the_machine_is_named() -> None:
    assert machine().processor
    assert machine().onnxruntime.count(".") == 2
