"""``headgate check`` finds every mistake and starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.cli.processes import REMOTE, headgate

pytestmark = pytest.mark.slow


def test_check_of_a_valid_file_is_0_and_names_the_models(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(REMOTE.format(url="http://a"))
    told = headgate("check", cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, "models.toml is valid: m (remote)\n", "")


def test_check_of_a_wrong_file_is_2_and_tells_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[gateway]\nlisen = "a"\n[models.m]\nengine = "remote"\nreplicas = 2\n')
    told = headgate("check", "a.toml", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines() == [
        "a.toml:2: gateway.lisen: is not an option; did you mean 'listen'?",
        'a.toml:5: models.m.replicas: is an option of engine = "vllm" or "onnx", not of "remote"',
        "a.toml:3: models.m.urls: is missing; expected: one address per replica: `http://`, `https://` or `unix:PATH`, "
        "with the base path of its API if it has one, or a table `discover`",
    ]
