"""``headgate check`` finds every mistake and starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

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


def test_check_reads_a_certificate_and_its_key(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = [authority.issue_cert("127.0.0.1") for _ in range(2)]
    for number, each in enumerate(issued):
        each.cert_chain_pems[0].write_to_path(tmp_path / f"{number}.crt")
        each.private_key_pem.write_to_path(tmp_path / f"{number}.key")
    for name, key in (("models", 0), ("other", 1)):
        pair = f'[gateway]\ntls_certificate = "0.crt"\ntls_key = "{key}.key"\n'
        model = '[models.m]\nengine = "remote"\nurls = ["http://a"]\n'
        (tmp_path / f"{name}.toml").write_text(pair + model)
    assert headgate("check", cwd=tmp_path).returncode == 0
    told = headgate("check", "other.toml", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith(f"other.toml: Cannot read {tmp_path}/0.crt and {tmp_path}/1.key ")
