"""A variant is served only if it was promoted, and only with the weights that it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.errors import ContentError
from engines.files.int8_variant import digest, int8_variant


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a model with weights beside its graph, and a promoted variant."""
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model.onnx_data").write_bytes(b"weights")
    (tmp_path / "int8").mkdir()
    (tmp_path / "int8" / "model.onnx").write_bytes(b"small")
    card = {"source": digest(tmp_path), "graph": digest(tmp_path / "int8"), "promoted": "static"}
    (tmp_path / "int8" / "card.json").write_text(json.dumps(card))
    return tmp_path


def test_a_promoted_variant_is_found(folder: Path) -> None:
    assert int8_variant(folder, "guard") == folder / "int8"


def test_what_was_never_promoted_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match=r"no promoted int8 variant .*headgate quantize guard --data FILE"):
        int8_variant(tmp_path, "guard")


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx_data"])
def test_a_variant_of_other_weights_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"other")
    with pytest.raises(ContentError, match=r"made from other weights .*headgate quantize guard"):
        int8_variant(folder, "guard")


def test_a_variant_that_was_changed_is_refused(folder: Path) -> None:
    (folder / "int8" / "model.onnx").write_bytes(b"evil!")
    with pytest.raises(ContentError, match=r"not the one that was measured and promoted; make one with"):
        int8_variant(folder, "guard")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"source": 5}'])
def test_a_broken_card_is_named(folder: Path, content: bytes) -> None:
    (folder / "int8" / "card.json").write_bytes(content)
    with pytest.raises(ContentError, match=r"card\.json cannot be read"):
        int8_variant(folder, "guard")


def test_a_digest_tells_the_graph_from_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"ab")
    whole = digest(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"a")
    (tmp_path / "model.onnx_data").write_bytes(b"b")
    assert digest(tmp_path) != whole
