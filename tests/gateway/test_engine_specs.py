"""What the supervisor is to start follows from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engines.errors import GpuError
from engines.spec import FolderSource, HubSource, PackageFile, PackageSource
from gateway.config.schema import Config
from gateway.engine_specs import cache_of, source_of, specs_of
from tests.kit.gateways import remote

DIGEST = "0" * 64
VLLM = {"engine": "vllm", "source": "a/b"}
NOBODY = remote("http://127.0.0.1:1")


def configured(models: Mapping[str, Any], **settings: Any) -> Config:
    return Config.model_validate({"gateway": settings, "models": models})


@pytest.mark.parametrize("source", ["/models/a", "./a", "../a", "~/a"])
def test_what_looks_like_a_path_is_a_folder(source: str) -> None:
    found = source_of(configured({"m": {"engine": "vllm", "source": source}}).models["m"])
    assert isinstance(found, FolderSource)
    assert "~" not in str(found)


def test_a_folder_that_exists_is_a_folder_and_anything_else_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = configured({"m": {"engine": "vllm", "source": "org/name"}}).models["m"]
    monkeypatch.chdir(tmp_path)
    assert source_of(model) == HubSource("org/name")
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert source_of(model) == FolderSource(tmp_path / "org" / "name")


def test_a_table_is_a_package() -> None:
    table = {"package": "p==1", "files": {"f": {"path": "p/f", "sha256": DIGEST}}}
    model = configured({"m": {"engine": "vllm", "source": table}}).models["m"]
    assert source_of(model) == PackageSource("p==1", (PackageFile("f", "p/f", DIGEST),))


def test_gpus_are_assigned_and_never_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    onnx = {"engine": "onnx", "source": "a/b", "tasks": ["embed"]}
    specs = specs_of(configured({"a": VLLM | {"gpus": 2, "replicas": 2}, "b": onnx, "c": VLLM, "d": NOBODY}))
    assert {spec.model: spec.gpus for spec in specs} == {"a": (("0", "1"), ("2", "3")), "b": ((),), "c": (("4",),)}


def test_too_few_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(GpuError, match=r"ask for 2 GPUs \(a: 1 x 1, b: 1 x 1\), but 1 can be used"):
        specs_of(configured({"a": VLLM | {"gpus": 1}, "b": VLLM | {"gpus": 1}}))


def test_without_gpus_vllm_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (spec,) = specs_of(configured({"a": VLLM | {"args": {"dtype": "float32"}, "env": {"A": "b"}}}))
    assert (spec.gpus, spec.args, spec.env, spec.tasks) == (((),), {"dtype": "float32"}, {"A": "b"}, ("generate",))


def test_the_cache_is_where_the_configuration_says(tmp_path: Path) -> None:
    assert cache_of(configured({"m": NOBODY}, cache=tmp_path)) == tmp_path
    assert cache_of(configured({"m": NOBODY})).name == "headgate"
