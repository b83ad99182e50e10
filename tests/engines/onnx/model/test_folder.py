"""A folder's files say what they say, absent ones have defaults, and broken ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engines.onnx.errors import ModelError
from engines.onnx.model.folder import ModelFolder


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_an_empty_folder_says_nothing(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    assert folder.config.id2label == {}
    assert folder.max_length is None
    assert folder.pooling.modes == ["mean_tokens"]
    assert folder.normalizes


def test_the_files_that_must_be_there_have_fixed_names(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    assert (folder.graph, folder.tokenizer) == (tmp_path / "model.onnx", tmp_path / "tokenizer.json")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="absent: no such folder"):
        ModelFolder(tmp_path / "absent")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    write(tmp_path, "model", {})
    with pytest.raises(ModelError, match="model: no such folder"):
        ModelFolder(tmp_path / "model")


def test_labels_come_by_number_although_json_has_only_strings_as_keys(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"id2label": {"1": "bad", "0": "good"}, "hidden_size": 384})
    assert ModelFolder(tmp_path).labels == ["good", "bad"]


def test_labels_of_classes_that_leave_one_out_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"id2label": {"2": "bad", "0": "good"}})
    with pytest.raises(ModelError, match=r"config\.json: id2label must number the classes from 0 on, not 0, 2"):
        _ = ModelFolder(tmp_path).labels


@pytest.mark.parametrize(
    ("files", "longest"),
    [
        ({"config.json": {"max_position_embeddings": 512}}, 512),
        ({"tokenizer_config.json": {"model_max_length": 256}, "config.json": {"max_position_embeddings": 512}}, 256),
        ({"sentence_bert_config.json": {"max_seq_length": 128}, "config.json": {"max_position_embeddings": 512}}, 128),
        # What transformers writes where nothing limits the length.
        ({"tokenizer_config.json": {"model_max_length": int(1e30)}}, None),
        ({"tokenizer_config.json": {"model_max_length": int(1e30)}, "config.json": {"max_position_embeddings": 9}}, 9),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, None),
        ({"config.json": {"max_position_embeddings": 0}}, None),
    ],
)
def test_the_longest_text_is_the_least_that_any_file_allows(
    tmp_path: Path, files: dict[str, Any], longest: int | None
) -> None:
    for name, content in files.items():
        write(tmp_path, name, content)
    assert ModelFolder(tmp_path).max_length == longest


def test_pooling_is_what_sentence_transformers_wrote(tmp_path: Path) -> None:
    write(tmp_path, "1_Pooling/config.json", {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True})
    assert ModelFolder(tmp_path).pooling.modes == ["cls_token"]


@pytest.mark.parametrize(
    ("steps", "normalizes"),
    [
        (["sentence_transformers.models.Transformer", "sentence_transformers.models.Normalize"], True),
        (["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"], False),
    ],
)
def test_vectors_are_scaled_if_the_models_steps_say_so(tmp_path: Path, steps: list[str], normalizes: bool) -> None:
    write(tmp_path, "modules.json", [{"idx": index, "type": step} for index, step in enumerate(steps)])
    assert ModelFolder(tmp_path).normalizes == normalizes


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"max_position_embeddings": "many"}', "Expected `int | null`, got `str`"),
        (b'{"problem_type": "\xff"}', "utf-8"),
        (b'{"other": ' + b"[" * 100_000, "recursion depth"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError) as raised:
        _ = ModelFolder(tmp_path).config
    assert raised.value.file == tmp_path / "config.json"
    assert reason in raised.value.reason


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ModelError, match=r"config\.json: .*Is a directory"):
        _ = ModelFolder(tmp_path).config
