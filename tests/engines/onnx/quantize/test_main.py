"""The whole way: data in, variants made and measured, and one promoted or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.files.int8_variant import int8_variant
from engines.onnx.model.model import load
from engines.onnx.quantize.__main__ import main
from tests.engines.onnx.quantize.encoder import write_encoder
from tests.engines.onnx.tiny import WORDS

LENIENT = "--min-speedup 0 --max-accuracy-loss 100 --max-size 1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a model, and texts beside it, labelled with what the model itself answers."""
    model = load("m", write_encoder(_made(tmp_path / "model")), "classify", labels=("low", "high"))
    random = np.random.default_rng(3)
    lines = ["text,label"]
    for _ in range(60):
        ids = random.integers(4, len(WORDS) - 2, random.integers(6, 13)).tolist()
        row = next(iter(model.compute([[2, *ids, 3]])))
        lines.append(f"{' '.join(WORDS[number] for number in ids)},{('low', 'high')[int(np.argmax(row))]}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    return tmp_path / "model"


def quantize(folder: Path, *more: str) -> int:
    data = folder.parent / "data.csv"
    line = f"--model-name m --folder {folder} --task classify --labels low,high --data {data}"
    return main([*line.split(), *more])


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_variant_that_passes_is_promoted_with_its_card(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize(folder, *LENIENT.split()) == 0
    said = capsys.readouterr().out
    assert "per-token: passes the gate" in said
    assert "is promoted, see " in said
    variant = int8_variant(folder, "m")
    assert names(variant) == {"model.onnx", "tokenizer.json", "card.json", "card.md", "card.svg"}
    assert names(folder) == {"model.onnx", "tokenizer.json", "int8"}
    card = json.loads((variant / "card.json").read_text())
    assert card["model"]["accuracy"] == 1
    assert {each["name"] for each in card["variants"]} == {"dynamic", "static", "static-smoothed", "per-token"}
    assert card["data"] == {"data.csv": [54, 54]}
    row = next(iter(load("m", variant, "classify", labels=("low", "high")).compute([[2, 4, 3]])))
    assert len(row) == 2


def test_only_the_variants_that_are_named_are_made(folder: Path) -> None:
    assert quantize(folder, *LENIENT.split(), "--variants", "per-token") == 0
    card = json.loads((int8_variant(folder, "m") / "card.json").read_text())
    assert [each["name"] for each in card["variants"]] == ["per-token"]


def test_nothing_is_promoted_when_none_passes_and_what_was_before_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(folder, *LENIENT.split()) == 0
    before = int8_variant(folder, "m").joinpath("card.json").read_bytes()
    assert quantize(folder, "--min-speedup", "1000") == 3
    assert "times faster, at least 1000 wanted" in capsys.readouterr().out
    assert names(folder / "int8-refused") == {"card.json", "card.md", "card.svg"}
    assert int8_variant(folder, "m").joinpath("card.json").read_bytes() == before


def test_a_promoted_variant_takes_the_place_of_the_one_before(folder: Path) -> None:
    assert quantize(folder, *LENIENT.split()) == 0
    (folder / "int8" / "model.onnx").write_bytes(b"of yesterday")
    assert quantize(folder, *LENIENT.split()) == 0
    assert int8_variant(folder, "m") == folder / "int8"


def test_data_that_cannot_be_read_is_told_and_nothing_is_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "data.csv").write_text("sentence\n")
    assert quantize(folder) == 1
    assert "data.csv:1: expected a heading with the column text" in capsys.readouterr().err
    assert names(folder) == {"model.onnx", "tokenizer.json"}


def test_the_card_is_written_to_another_place_as_well(folder: Path) -> None:
    assert quantize(folder, *LENIENT.split(), "--card", str(folder.parent / "m")) == 0
    assert (folder.parent / "m.json").read_bytes() == (folder / "int8" / "card.json").read_bytes()
    assert "](m.svg)" in (folder.parent / "m.md").read_text()


def test_files_of_one_name_are_all_read(folder: Path) -> None:
    data = folder.parent / "data.csv"
    (folder.parent / "more").mkdir()
    more = folder.parent / "more" / "data.csv"
    more.write_text("\n".join(["text,label", *(f"{word} {word},low" for word in WORDS[4:])]))
    line = f"--model-name m --folder {folder} --task classify --labels low,high --data {data} {more}"
    assert main([*line.split(), *LENIENT.split(), "--variants", "per-token"]) == 0
    card = json.loads((folder / "int8" / "card.json").read_text())
    assert list(card["data"]) == [str(data), str(more)]
    assert sum(measured for measured, _ in card["data"].values()) == 60


def test_of_a_graph_with_several_outputs_the_named_one_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = onnx.load(folder / "model.onnx")
    graph.graph.output[0].name = graph.graph.node[-1].output[0] = "first"
    graph.graph.node.append(onnx.helper.make_node("Identity", ["first"], ["second"]))
    graph.graph.output.append(onnx.helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, ["batch", 2]))
    onnx.save(graph, folder / "model.onnx")
    assert quantize(folder, *LENIENT.split(), "--variants", "per-token") == 1
    assert "say which one with `output`" in capsys.readouterr().err
    assert quantize(folder, *LENIENT.split(), "--variants", "per-token", "--output", "second") == 0


def test_a_broken_model_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.onnx").write_bytes(b"nothing")
    assert quantize(folder) == 1
    assert "model.onnx: ONNX Runtime cannot load it" in capsys.readouterr().err


def test_a_missing_package_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert quantize(folder) == 1
    assert "pip install onnx" in capsys.readouterr().err


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
