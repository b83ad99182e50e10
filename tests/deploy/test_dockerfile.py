"""The image is pinned, runs as nobody in particular, says whether it is well, and ends when it is told to."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.gateways import gateway, remote

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def stages() -> dict[str, str]:
    """Return the instructions of each stage, by its name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {name: f"FROM {base}\n{text}" for base, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    found = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN sudo ls\n")
    hadolint = Path(sys.executable).parent / "hadolint"
    assert subprocess.run([hadolint, bad], capture_output=True, check=False).returncode == 1


def test_every_base_image_is_pinned_and_the_same() -> None:
    bases = {text.split()[1] for text in stages().values()} - stages().keys()
    (base,) = bases
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


@pytest.mark.parametrize("stage", ["engines", "gateway"])
def test_a_finished_stage_has_nothing_of_what_it_was_built_with_and_runs_as_a_numbered_user(stage: str) -> None:
    text = stages()[stage]
    assert text.startswith("FROM base\n")
    assert re.search(r"^COPY --from=\S+ /opt/headgate /opt/headgate$", text, re.MULTILINE)
    assert not re.search(r"gcc|build-essential|git|pip install", text + stages()["base"])
    assert text.rstrip().endswith("USER 10001")


def test_process_one_is_an_init_that_passes_signals_on() -> None:
    assert 'ENTRYPOINT ["tini", "--", "headgate"]' in stages()["base"]


def test_its_health_is_asked_for_at_the_control_port_that_it_listens_on() -> None:
    assert "http://127.0.0.1:9000/livez" in health_check()[-1]
    assert '"--control", "0.0.0.0:9000"' in stages()["base"]


async def test_it_is_healthy_while_it_runs_though_its_engines_are_not_and_unhealthy_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with gateway({"m": remote("http://127.0.0.1:1")}, ready=[]) as running:
        _, *options = health_check()
        asked = [each.replace("http://127.0.0.1:9000", running.control) for each in options]
        assert await status(sys.executable, *asked) == 0
    assert await status(sys.executable, *asked) != 0


def health_check() -> list[str]:
    """The command of the health check."""
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", stages()["base"], re.MULTILINE)
    assert found is not None
    command: list[str] = json.loads(found[1])
    return command


async def status(*command: str) -> int:
    """Run a command that may fail; return its exit status."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


def test_all_that_is_copied_is_in_the_context() -> None:
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for source in " ".join(copied).split():
        assert f"!{source}" in allowed, source
