"""What runs on a node: it starts the engine that is ordered, ends with it, and says what it cannot do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest

from engines.errors import ContentError, SourceError
from engines.ray.__main__ import main
from engines.ray.order import USELESS, VARIABLE, Order
from engines.spec import EngineSpec, FolderSource
from tests.engines.onnx.tiny import write_classifier
from tests.kit.shell_engine import Shell


def order(folder: Path, **changes: object) -> dict[str, str]:
    """Order a replica, as the environment of its process has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spec = EngineSpec("m", "onnx", FolderSource(folder), tasks=("classify",), args={"threads": 1})
    return {VARIABLE: msgspec.structs.replace(Order.of(spec), **{"port": port, "key": "s3cret"} | changes).written()}


def test_without_an_order_it_is_useless(capsys: pytest.CaptureFixture[str]) -> None:
    assert main({}, {}) == USELESS
    assert capsys.readouterr().err.startswith("error: HEADGATE_REPLICA is not set")


def test_files_that_no_try_can_mend_are_told_from_those_that_may_come(tmp_path: Path) -> None:
    shell = Shell(fails=[SourceError("the index is away"), ContentError("no model.onnx")])
    assert main(order(tmp_path), {"onnx": shell}) == 1
    assert main(order(tmp_path), {"onnx": shell}) == USELESS


def test_a_port_that_is_taken_is_found_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("", 0)) as taken:
        assert main(order(tmp_path, port=taken.getsockname()[1]), {"onnx": Shell("exit 9")}) == 1
    assert "Address already in use" in capsys.readouterr().err


def test_gpus_that_the_job_does_not_see_are_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert main(order(tmp_path, gpus=2), {"onnx": Shell("exit 9")}) == 1
    assert "m is to have 2 GPUs, but this job sees 1." in capsys.readouterr().err


@pytest.mark.slow
def test_the_engine_answers_those_who_know_the_key_and_dies_with_the_job(tmp_path: Path) -> None:
    ordered = order(write_classifier(tmp_path))
    url = f"http://127.0.0.1:{Order.read(ordered).port}"
    job = subprocess.Popen([sys.executable, "-m", "engines.ray"], env=os.environ | ordered, start_new_session=True)
    try:
        _until_answered(f"{url}/health")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/v1/models")
        asked = urllib.request.Request(f"{url}/v1/models", headers={"authorization": "Bearer s3cret"})
        with urllib.request.urlopen(asked) as answer:
            assert answer.status == 200
        group = [pid for pid, leader in _processes().items() if leader == job.pid]
        assert len(group) == 3  # this process, the shim and the engine
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        _until_ended(group)
    finally:
        job.kill()
        job.wait()


def _until_answered(url: str) -> None:
    """Wait until an engine answers, which no event tells."""
    for _ in range(2400):
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} did not answer")


def _until_ended(processes: list[int]) -> None:
    for _ in range(2400):
        if not set(processes) & _processes().keys():
            return
        time.sleep(0.05)
    raise AssertionError("the engine outlives its job")


def _processes() -> dict[int, int]:
    """Give the process group of each process that is not only remembered for its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                leader = os.getpgid(int(entry.name))
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = leader
    return found
