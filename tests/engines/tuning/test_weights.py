"""Weights are brought as engines bring theirs, and only those in safetensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import ContentError, SourceError
from engines.tuning.records import Weights
from engines.tuning.weights import bring


def brought(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).touch()
    return bring("base", "classifier", Weights(folder=str(folder)), folder / "cache", print)


def test_a_folder_with_weights_is_taken_as_it_is(tmp_path: Path) -> None:
    assert brought(tmp_path, "config.json", "model.safetensors") == tmp_path


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="not in safetensors"):
        brought(tmp_path, "config.json", "pytorch_model.bin")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match=r"have no config\.json"):
        brought(tmp_path, "model.safetensors")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        bring("base", "lora", Weights(folder=str(tmp_path / "none")), tmp_path, print)
