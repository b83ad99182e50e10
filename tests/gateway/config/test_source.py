"""Where a model's files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.source import is_path
from tests.gateway.config.mistakes import DIGEST, Write, mistakes


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1", "models.m.source"),
        ('""', "models.m.source"),
        ('{ package = "a", files = { b = { path = "c", sha256 = "DIGEST" } } }', "models.m.source.package"),
        ('{ package = "a==1", files = {} }', "models.m.source.files"),
        ('{ package = "a==1", files = { b = { path = "c" } } }', "models.m.source.files.b.sha256"),
        (
            '{ package = "a==1", files = { b = { path = "../c", sha256 = "DIGEST" } } }',
            "models.m.source.files.b.path",
        ),
        ('{ package = "a==1", files = { ".b" = { path = "c", sha256 = "DIGEST" } } }', "models.m.source.files..b"),
        ('{ package = "a==1", files = { b = { path = "c", sha256 = "F0" } } }', "models.m.source.files.b.sha256"),
        ('{ package = "a==1", file = 1, files = { b = { path = "c", sha256 = "DIGEST" } } }', "models.m.source.file"),
    ],
)
def test_a_wrong_source_is_told_by_its_own_key(write: Write, source: str, expected: str) -> None:
    (line,) = mistakes(write(f'[models.m]\nengine = "vllm"\nsource = {source}\n'.replace("DIGEST", DIGEST)))
    assert line.split(": ")[:2] == ["models.toml:3", expected]


@pytest.mark.parametrize(
    ("source", "path"), [("./a", True), ("../a", True), ("/a", True), ("~/a", True), (".", True), ("org/name", False)]
)
def test_a_folder_is_told_from_an_id(source: str, *, path: bool) -> None:
    assert is_path(source) is path


def test_a_name_is_a_folder_if_it_is_one_beside_the_file_and_an_id_if_not(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write('[models.m]\nengine = "vllm"\nsource = "org/name"\n')
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)

    def source() -> object:
        model = load(path).models["m"]
        assert model.engine == "vllm"
        return model.source

    assert source() == "org/name"
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert source() == str(tmp_path / "org" / "name")


def test_only_vllm_takes_a_model_from_a_hub(write: Write, tmp_path: Path) -> None:
    path = write('[models.m]\nengine = "onnx"\nsource = "org/name"\ntasks = ["embed"]\ntuning = { source = "org/a" }\n')
    told = "there is no such folder here, and only vLLM takes models from a hub; expected a folder or a table"
    assert mistakes(path) == [
        f"models.toml:3: models.m.source: {told} (it is 'org/name')",
        f"models.toml:5: models.m.tuning.source: {told} (it is 'org/a')",
    ]
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "a").mkdir()
    assert load(path).models
