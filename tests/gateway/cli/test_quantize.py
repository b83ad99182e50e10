"""``headgate quantize`` works on the models of a configuration, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.gateway.cli.processes import REMOTE

pytestmark = pytest.mark.slow


def test_quantize_takes_only_the_onnx_models_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "models.toml"
    config.write_text(REMOTE.format(url="http://127.0.0.1:1"))
    assert main(["quantize", "m", "--config", str(config), "--data", "a.csv"]) == 2
    assert capsys.readouterr().err == f"headgate: {config} has no ONNX model 'm'; it has no ONNX models\n"


def test_quantize_works_in_a_process_of_its_own_with_what_the_configuration_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "guard").mkdir()
    config = tmp_path / "models.toml"
    config.write_text(
        '[models.guard]\nengine = "onnx"\nsource = "./guard"\ntasks = ["classify"]\nvariant = "int8"\n'
        'labels = ["fine", "nasty"]\nmax_length = 9\n'
    )
    assert main(["quantize", "guard", "--config", str(config), "--data", str(tmp_path / "absent.csv")]) == 1
    assert f"error: guard: {tmp_path}/absent.csv: cannot be read: " in capfd.readouterr().err
