"""The model cards in the docs are what ``headgate quantize`` wrote, and the prompts they speak of are labelled."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from engines.onnx.quantize.card import Card, page, plot
from engines.onnx.quantize.texts import read

ROOT = Path(__file__).parent.parent.parent
CARDS = sorted((ROOT / "docs/models").glob("*.json"))


def test_each_onnx_model_has_its_card() -> None:
    models = tomllib.loads((ROOT / "models.toml").read_text(encoding="utf-8"))["models"]
    assert {card.stem for card in CARDS} == {name for name, model in models.items() if model["engine"] == "onnx"}


@pytest.mark.parametrize("file", CARDS, ids=lambda file: file.stem)
def test_page_and_picture_show_the_numbers_of_the_card(file: Path) -> None:
    card = msgspec.json.decode(file.read_bytes(), type=Card)
    assert card.name == file.stem
    assert file.with_suffix(".md").read_text(encoding="utf-8") == page(card, f"{file.stem}.svg")
    assert file.with_suffix(".svg").read_text(encoding="utf-8") == plot(card)


@pytest.mark.parametrize("file", CARDS, ids=lambda file: file.stem)
def test_what_was_promoted_passed_the_gate(file: Path) -> None:
    card = msgspec.json.decode(file.read_bytes(), type=Card)
    chosen = card.gate.choose(card.variants)
    assert card.promoted == (chosen.name if chosen else None)


def test_half_of_the_prompts_are_injections_and_none_is_there_twice() -> None:
    prompts = read(ROOT / "docs/models/prompts.csv", 10_000)
    assert Counter(prompt.label for prompt in prompts) == {"benign": 100, "injection": 100}
    assert len({prompt.text for prompt in prompts}) == 200
