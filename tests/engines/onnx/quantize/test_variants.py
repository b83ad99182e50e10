"""Each variant is a graph that runs, is smaller, and says nearly the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.onnx.model.session import Session
from engines.onnx.quantize.variants import VARIANTS
from tests.engines.onnx.quantize.encoder import WORDS, write_encoder

TEXTS = [np.random.default_rng(n).integers(0, WORDS, 4 + n % 9).tolist() for n in range(24)]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_runs_is_smaller_and_says_nearly_the_same(name: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path) / "model.onnx"
    model = Session(source)
    target = tmp_path / "made" / "model.onnx"
    target.parent.mkdir()
    VARIANTS[name](source, target, [model.feed([text])[0] for text in TEXTS])
    logits = model.run("logits", TEXTS)[0]
    np.testing.assert_allclose(Session(target).run("logits", TEXTS)[0], logits, atol=0.15 * np.abs(logits).max())
    assert target.stat().st_size < 0.4 * source.stat().st_size
    assert [file.name for file in target.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(("name", "depends"), [("dynamic", True), ("static", False), ("per-token", False)])
def test_only_the_scale_of_a_whole_batch_makes_answers_depend_on_neighbours(
    name: str, depends: bool, tmp_path: Path
) -> None:
    source, target = write_encoder(tmp_path) / "model.onnx", tmp_path / "variant.onnx"
    VARIANTS[name](source, target, [Session(source).feed([text])[0] for text in TEXTS])
    made = Session(target)
    alone = np.concatenate([made.run("logits", [text])[0] for text in TEXTS])
    shift = np.abs(made.run("logits", TEXTS)[0] - alone).max()
    assert (shift > 1e-4) == depends
