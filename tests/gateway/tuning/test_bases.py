"""Which models can be fine-tuned, from which weights, and what the others lack."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from engines.ray.cluster import RayCluster
from engines.tuning.records import Weights
from gateway.config.schema import Config
from gateway.tuning.bases import Base, bases_of, folder_of, settings_of, why_not

_DIGEST = "0" * 64
_PACKAGE = {"package": "p==1", "files": {"config.json": {"path": "a/config.json", "sha256": _DIGEST}}}


def configured(model: dict[str, Any], ray: dict[str, Any] | None = None, **tuning: Any) -> Config:
    return Config.model_validate({"gateway": {"tuning": tuning, "ray": ray}, "models": {"m": model}})


def onnx(**other: Any) -> dict[str, Any]:
    return {"engine": "onnx", "source": "/m", "tasks": ["embed"], **other}


def test_an_onnx_model_is_tuned_from_the_weights_that_its_table_names() -> None:
    base = bases_of(configured(onnx(tuning={"source": _PACKAGE})))["m"]
    files = {"config.json": ("a/config.json", _DIGEST)}
    assert base == Base("classifier", Weights(package="p==1", files=files))
    assert bases_of(configured(onnx(tuning={"source": "/w"})))["m"].weights == Weights(folder="/w")


def test_a_model_of_vllm_is_tuned_from_its_own_files() -> None:
    vllm = {"engine": "vllm", "source": _PACKAGE, "adapters": {}}
    assert bases_of(configured(vllm))["m"].kind == "lora"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (onnx(), r"\[models\.m\.tuning\]"),
        ({"engine": "vllm", "source": "/m"}, r"takes no adapters; an empty table \[models\.m\.adapters\]"),
        ({"engine": "vllm", "source": "a/b", "adapters": {}}, "on a hub"),
        ({"engine": "remote", "urls": ["http://a:1"]}, "does not run here"),
    ],
    ids=["onnx", "vllm", "hub", "remote"],
)
def test_others_lack_something(model: dict[str, Any], reason: str) -> None:
    config = configured(model)
    assert bases_of(config) == {}
    assert re.search(reason, why_not(config, "m"))


def test_a_fine_tuned_model_is_no_base() -> None:
    for name in ("ft:m:headgate::1f0c2a9b", "ft:gone"):
        assert why_not(configured(onnx()), name).startswith("it is a fine-tuned model itself")


def test_a_server_is_told_what_is_configured(tmp_path: Path) -> None:
    config = configured(onnx(), folder=str(tmp_path), jobs=2, threads=3, memory_bytes=2**30, time_budget=5.0)
    told = settings_of(config, ["train"])
    assert (told.folder, told.jobs, told.threads, told.memory_bytes) == (str(tmp_path), 2, 3, 2**30)
    assert (told.time_budget, told.train, told.ray) == (5.0, ["train"], None)


def test_on_a_cluster_jobs_are_trained_by_the_python_of_the_nodes(tmp_path: Path) -> None:
    ray = {"address": "http://h:8265", "token_file": str(tmp_path / "token"), "name": "a", "python": "/opt/python"}
    told = settings_of(configured(onnx(), ray, placement="ray"), ["python", "-m", "train"])
    assert told.ray == RayCluster("http://h:8265", "a", str(tmp_path / "token"), python="/opt/python")
    assert (told.train, told.threads) == (["/opt/python", "-m", "train"], 1)
    assert settings_of(configured(onnx(), ray), ["python"]).ray is None


def test_jobs_are_kept_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert folder_of(configured(onnx())) == Path("/data/headgate/tuning")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert folder_of(configured(onnx())) == Path("/home/me/.local/share/headgate/tuning")
