"""The int8 variant is made by the project's own command, and its verdict is passed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.files.int8_variant import int8_variant
from engines.train.classifier.int8 import measured_with, quantize
from engines.train.classifier.prepare import Prepared
from engines.train.errors import JobError
from engines.train.examples import Example
from tests.engines.onnx.quantize.encoder import write_encoder
from tests.engines.onnx.tiny import WORDS

EXAMPLES = [Example(" ".join(WORDS[4 + (n + at) % 5] for at in range(6)), (("low", "high")[n % 2],)) for n in range(40)]
DATA = Prepared(EXAMPLES[:30], EXAMPLES[30:], ["low", "high"], False, [1.0, 1.0], [])


def data(validation: int, characters: int) -> Prepared:
    """Make examples of so many characters: 200 that are trained on, and some that validate."""
    texts = [Example(f"{number:0{characters}d}", ("low",)) for number in range(200 + validation)]
    return Prepared(texts[validation:], texts[:validation], ["low"], False, [1.0], [])


@pytest.mark.parametrize(
    ("validation", "characters", "measured"),
    [(100, 10, 300), (804, 100, 804), (2000, 10, 1000), (2000, 250, 400), (2000, 2000, 300)],
)
def test_the_gate_compares_validation_texts_as_many_as_are_not_too_long(
    validation: int, characters: int, measured: int
) -> None:
    examples = data(validation, characters)
    assert measured_with(examples) == [*examples.validation, *examples.training][:measured]


@pytest.mark.slow
def test_a_verdict_comes_with_its_figures_and_leaves_no_texts(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    folder = write_encoder(tmp_path / "model")
    (folder / "config.json").write_text('{"id2label": {"0": "low", "1": "high"}}')
    found = quantize("m", folder, DATA, 16, 1)
    assert 0 <= found.flips <= 100
    assert found.size < 1
    if found.promoted:
        assert int8_variant(folder, "m") == folder / "int8"
    else:
        assert (folder / "int8-refused" / "card.md").exists()
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_model_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(JobError, match=r"(?s)The int8 variant cannot be made: .*tokenizer") as caught:
        quantize("m", tmp_path / "model", DATA, 16, 1)
    assert caught.value.code == "quantization_failed"
