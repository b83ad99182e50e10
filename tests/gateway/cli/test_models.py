"""``headgate models`` brings the files of every model into the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.gateway.cli.processes import REMOTE

pytestmark = pytest.mark.slow


def test_models_with_nothing_to_fetch_is_0(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(REMOTE.format(url="http://a"))
    assert main(["models", "--config", str(path)]) == 0


def test_a_model_of_a_hub_is_left_to_vllm_and_not_called_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    path = tmp_path / "models.toml"
    path.write_text('[models.m]\nengine = "vllm"\nsource = "a/b"\n')
    assert main(["models", "--config", str(path)]) == 0
    assert capsys.readouterr().out.endswith("s] m: a/b is fetched by vLLM when it starts\n")


def test_models_that_cannot_be_fetched_are_1_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f'[models.m]\nengine = "onnx"\ntasks = ["embed"]\nsource = "{tmp_path}/none"\n')
    assert main(["models", "--config", str(path)]) == 1
    assert "s] m: failed: " in capsys.readouterr().out


def test_models_that_ask_for_gpus_that_are_not_there_are_1_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    path = tmp_path / "models.toml"
    path.write_text('[models.m]\nengine = "vllm"\nsource = "a/b"\ngpus = 2\n')
    assert main(["models", "--config", str(path)]) == 1
    assert "headgate: The models ask for 2 GPUs" in capsys.readouterr().err
