"""A job is read from its folder, and what is wrong with it is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.train.errors import JobError
from engines.train.job import Distill, Hyperparameters, Job, JobFolder

JOB: dict[str, Any] = {
    "id": "ftjob-1",
    "name": "ft:a:b::c",
    "kind": "classifier",
    "base": {"name": "a", "weights": "/a"},
    "training_file": "/t.jsonl",
}


def write(folder: Path, **fields: Any) -> JobFolder:
    (folder / "job.json").write_text(json.dumps(JOB | fields))
    return JobFolder(folder)


def test_what_is_left_open_has_defaults(tmp_path: Path) -> None:
    job = write(tmp_path).job()
    assert (job.method, job.validation, job.seed, job.hyperparameters.n_epochs) == ("auto", None, 0, "auto")


def test_fields_of_the_future_are_passed_over(tmp_path: Path) -> None:
    given = {"n_epochs": 3, "learning_rate_multiplier": 0.5}
    job = write(tmp_path, validation_file="/v.jsonl", hyperparameters=given, later=1).job()
    assert job.validation == Path("/v.jsonl")
    assert (job.hyperparameters.n_epochs, job.hyperparameters.learning_rate_multiplier) == (3, 0.5)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "painter"}, r"Invalid enum value 'painter' - at `\$\.kind`"),
        ({"hyperparameters": {"n_epochs": 0}}, r"at `\$\.hyperparameters\.n_epochs`"),
        ({"time_budget": 0}, r"at `\$\.time_budget`"),
        ({"base": {"name": "a"}}, "missing required field `weights`"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(JobError, match=reason):
        write(tmp_path, **fields).job()


def test_an_absent_job_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"job\.json cannot be read: .*No such file"):
        JobFolder(tmp_path).job()


def test_why_a_job_failed_is_written(tmp_path: Path) -> None:
    JobFolder(tmp_path).write_error(JobError("invalid_model", "It is none.", "model"))
    assert json.loads((tmp_path / "error.json").read_text()) == {
        "code": "invalid_model",
        "message": "It is none.",
        "param": "model",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["error.json"]


def test_what_is_left_open_is_resolved() -> None:
    assert Hyperparameters().resolved(3, 8) == (3, 8, 1.0)
    assert Hyperparameters(1, "auto", 0.5).resolved(3, 8) == (1, 8, 0.5)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prune": {}}, r"missing both `layers` and `heads`.* - at `\$\.prune`"),
        ({"prune": {"heads": 1.0}}, r"`float` < 1.0 - at `\$\.prune\.heads`"),
        ({"prune": {"layers": 0}}, r"`int` >= 1 - at `\$\.prune\.layers`"),
        ({"distill": {"layers": 1, "temperature": 0.5}}, r">= 1(\.0)? - at `\$\.distill\.temperature`"),
        ({"prune": {"layers": 1}, "distill": {"layers": 1}}, "Of prune and distill only one can be given"),
        ({"prune": {"heads": 0.5}, "kind": "lora"}, "Only classifiers can be made smaller"),
    ],
)
def test_a_model_is_made_smaller_in_one_way_that_is_known(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(JobError, match=reason):
        write(tmp_path, **fields).job()


def test_how_many_layers_are_left() -> None:
    job = msgspec.convert(JOB | {"prune": {"layers": 3}}, Job)
    assert (job.layers, msgspec.convert(JOB, Job).layers) == (3, None)
    assert msgspec.convert(JOB | {"prune": {"heads": 0.5}}, Job).layers is None
    assert msgspec.convert(JOB | {"distill": {"layers": 2}}, Job).distill == Distill(2, 2.0)


def test_null_asks_for_nothing(tmp_path: Path) -> None:
    assert write(tmp_path, prune=None, distill=None).job().id == "ftjob-1"
