"""A training is the same command on the cluster, within its limits, and is found again by the file in its folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engines.tuning.ray_submission import Submission, SubmissionFile, request_of


def test_a_training_asks_for_its_threads_and_its_memory_and_says_what_it_is() -> None:
    request = request_of(
        ("python3", "-m", "x"), Path("/t/ftjob-1/train.log"), gateway="g", threads=3, memory_bytes=2**30
    )
    assert request["entrypoint_num_cpus"] == 3
    assert request["entrypoint_memory"] == 2**30
    assert request["metadata"] == {"headgate": "g", "headgate_training": "ftjob-1"}
    assert request["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "3"


def test_ray_gives_it_a_minute_to_write_its_checkpoint() -> None:
    request = request_of(("true",), Path("/t/j/train.log"), gateway="g", threads=1, memory_bytes=2**30)
    told = request["runtime_env"]["env_vars"]
    assert (told["RAY_JOB_STOP_SIGNAL"], told["RAY_JOB_STOP_WAIT_TIME_S"]) == ("SIGTERM", "60")


def test_its_command_logs_into_its_folder_within_its_memory_and_ends_with_its_own_code(tmp_path: Path) -> None:
    log = tmp_path / "a folder" / "train.log"
    log.parent.mkdir()
    command = ("sh", "-c", "echo $0; ulimit -d; echo wrong >&2; exit 3", "it's said")
    request = request_of(command, log, gateway="g", threads=1, memory_bytes=2**30)
    assert subprocess.run(["/bin/sh", "-c", request["entrypoint"]], check=False).returncode == 3
    assert log.read_text().splitlines() == ["it's said", str(2**20), "wrong"]


def test_what_is_under_way_is_known_until_its_end_is(tmp_path: Path) -> None:
    file = SubmissionFile.beside(tmp_path / "train.log")
    assert file.read() is None
    file.write(Submission("a"))
    file.write(Submission("a", stopped=True))
    assert SubmissionFile.beside(tmp_path / "train.log").read() == Submission("a", stopped=True)
    assert [each.name for each in tmp_path.iterdir()] == ["ray.json"]
    file.remove()
    file.remove()
    assert file.read() is None


def test_a_file_that_names_no_job_is_told(tmp_path: Path) -> None:
    (tmp_path / "ray.json").write_text("{}")
    with pytest.raises(OSError, match=r"ray\.json does not name a job of the Ray cluster: .*`id`"):
        SubmissionFile.beside(tmp_path / "train.log").read()
