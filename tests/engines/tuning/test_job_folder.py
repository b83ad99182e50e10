"""The folder of a job: what it is told, what is read of its training, and what is left at its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.train import job as train
from engines.train.job import Distill, Prune
from engines.tuning.job_folder import JobFolder
from engines.tuning.records import Job, JobError, TrainingFile
from tests.kit.tuning import EXAMPLES, order, settings


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    made = JobFolder(tmp_path / "jobs" / "ftjob-1")
    made.path.mkdir(parents=True)
    return made


def test_examples_stay_when_their_owner_deletes_them(tmp_path: Path) -> None:
    asked, folder = order(tmp_path), JobFolder(tmp_path / "jobs" / "ftjob-1")
    folder.take_files(asked.training_file.path, asked.training_file.path)
    Path(asked.training_file.path).unlink()
    assert folder.training.read_bytes() == folder.validation.read_bytes() == EXAMPLES


def test_examples_that_are_gone_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JobFolder(tmp_path / "jobs" / "ftjob-1").take_files(str(tmp_path / "gone"), None)


def test_a_training_is_told_what_the_protocol_says(tmp_path: Path, folder: JobFolder) -> None:
    asked = order(tmp_path, "s", method="probe", validation_file=TrainingFile("file-2", "/x"), time_budget=1e6)
    job = Job(id="ftjob-1", name="ft:base:acme:s:1", order=asked, created_at=0)
    folder.write_job(job, Path("/weights"), settings(tmp_path, time_budget=60.0, threads=3))
    assert json.loads((folder.path / "job.json").read_text()) == {
        "id": "ftjob-1",
        "name": "ft:base:acme:s:1",
        "kind": "classifier",
        "base": {"name": "base", "weights": "/weights"},
        "method": "probe",
        "training_file": str(folder.training),
        "validation_file": str(folder.validation),
        "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
        "seed": 1,
        "time_budget": 60.0,
        "threads": 3,
        "augment": False,
        "quantize": False,
        "prune": None,
        "distill": None,
    }


def test_a_training_is_told_how_to_make_its_model_smaller(tmp_path: Path, folder: JobFolder) -> None:
    for how in ({"prune": Prune(3)}, {"prune": Prune(heads=0.5)}, {"distill": Distill(2, 4.0)}):
        job = Job(id="ftjob-1", name="ft:base:acme::1", order=order(tmp_path, **how), created_at=0)
        folder.write_job(job, Path("/weights"), settings(tmp_path))
        read = train.JobFolder(folder.path).job()
        assert {"prune": read.prune, "distill": read.distill} == {"prune": None, "distill": None} | how


def test_lines_are_read_once_and_only_when_they_are_whole(folder: JobFolder) -> None:
    assert folder.new_lines(0) == ([], 0)
    events = folder.path / "events.jsonl"
    events.write_bytes(b'{"a": 1}\n{"b"')
    assert folder.new_lines(0) == ([{"a": 1}], 9)
    assert folder.new_lines(9) == ([], 9)
    with events.open("ab") as more:
        more.write(b": 2}\n")
    assert folder.new_lines(9) == ([{"b": 2}], 18)


def test_a_line_that_was_cut_by_a_kill_is_passed_over(folder: JobFolder) -> None:
    (folder.path / "events.jsonl").write_bytes(b'{"a": 1}\n{"cut": {"c": 3}\n[1]\n{"d": 4}\n')
    assert folder.new_lines(0)[0] == [{"a": 1}, {"d": 4}]


def test_why_a_job_failed_is_what_it_says_or_its_last_words(folder: JobFolder) -> None:
    folder.log.write_text("one\ntwo\n")
    assert "Its last words:\none\ntwo" in folder.error().message
    (folder.path / "error.json").write_text('{"code": "c", "message": "m", "param": null}')
    assert folder.error() == JobError("c", "m", None)


def test_what_is_not_needed_goes_and_the_log_stays(folder: JobFolder) -> None:
    for name in ("train.log", "job.json", "events.jsonl"):
        (folder.path / name).touch()
    for name in ("result", "checkpoints/step-1"):
        (folder.path / name).mkdir(parents=True)
    folder.tidy(keep=[folder.result])
    assert {each.name for each in folder.path.iterdir()} == {"train.log", "result"}
    folder.tidy()
    assert {each.name for each in folder.path.iterdir()} == {"train.log"}
