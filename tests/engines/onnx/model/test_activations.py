"""Logits become probabilities or scores as the model's configuration says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.onnx.errors import ModelError
from engines.onnx.model.activations import activation_of
from engines.onnx.model.folder import ModelFolder


def activated(folder: Path, logits: list[float], **config: Any) -> list[float]:
    (folder / "config.json").write_text(json.dumps(config))
    files = ModelFolder(folder)
    (row,) = activation_of(files, files.config)(np.array([logits], np.float32)).tolist()
    return list(row)


@pytest.mark.parametrize(
    ("problem", "logits", "expected"),
    [
        ("single_label_classification", [0, 0], [0.5, 0.5]),
        ("multi_label_classification", [0, np.log(3)], [0.5, 0.75]),
        ("regression", [-2, 7], [-2, 7]),
        (None, [0, np.log(3)], [0.25, 0.75]),
        # One class alone is a yes or a no.
        (None, [np.log(3)], [0.75]),
    ],
)
def test_the_kind_of_problem_says_what_becomes_of_logits(
    tmp_path: Path, problem: str | None, logits: list[float], expected: list[float]
) -> None:
    assert activated(tmp_path, logits, problem_type=problem) == pytest.approx(expected)


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_probabilities_of_huge_logits_are_numbers(tmp_path: Path, problem: str | None) -> None:
    assert activated(tmp_path, [-1e38, 1e38], problem_type=problem) == [0, 1]


def test_an_unknown_kind_of_problem_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: unknown problem_type 'ranking'"):
        activated(tmp_path, [0], problem_type="ranking")


def test_an_activation_is_a_name_and_no_code(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: activation 'os\.system' is not one of"):
        activated(tmp_path, [0], sbert_ce_default_activation_function="os.system")
