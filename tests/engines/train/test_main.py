"""The child keeps to its contract: exit codes, files that appear when they are complete, and going on after a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.train.__main__ import main
from engines.train.checkpoints import Checkpoints
from tests.engines.train.tiny_models import events, needed, reviews, write_encoder, write_job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def result(folder: Path) -> tuple[str, Any, str]:
    """Give what depends on the training alone: its course, and what the model answers."""
    made = folder / "result"
    golden = json.loads((made / "model.json").read_text())["golden"]
    return (made / "metrics.csv").read_text(), golden["answer"], golden["text"]


def test_a_job_makes_a_result_of_all_that_is_served(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(80))
    assert main([str(folder)]) == 0
    assert names(folder) == {"job.json", "events.jsonl", "checkpoints", "result"}
    assert {"model", "model.json", "metrics.csv", "card.md", "loss.svg", "confusion.svg"} <= names(folder / "result")
    phases = [event["phase"] for event in events(folder, "progress") if event["share"] == 0]
    assert phases == ["prepare", "probe", "train", "evaluate", "export", "card"]
    assert events(folder, "resolved")[0]["hyperparameters"] == {
        "n_epochs": 2,
        "batch_size": 32,
        "learning_rate_multiplier": 1.0,
    }
    metrics = events(folder, "metrics")
    assert [event["step"] for event in metrics] == list(range(1, 1 + metrics[-1]["total_steps"]))
    assert "full_valid_mean_token_accuracy" in metrics[-1]
    assert events(folder, "trained")[0]["trained_tokens"] > 0
    last = events(folder, "checkpoint")[-1]
    assert last["path"] == str(folder / "checkpoints" / f"step-{last['step']}")


def test_a_complete_job_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    assert main([str(tmp_path)]) == 0
    assert names(tmp_path) == {"result"}


def test_bad_data_is_told_in_the_error_and_no_half_result_is_left(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, [{"text": "a", "label": "b"}] * 12)
    assert main([str(folder)]) == 3
    error = json.loads((folder / "error.json").read_text())
    assert (error["code"], error["param"]) == ("invalid_training_file", "training_file")
    assert not (folder / "result").exists()
    assert events(folder, "message")[-1] | {"at": 0} == {
        "at": 0,
        "type": "message",
        "level": "error",
        "message": error["message"],
    }


def test_a_loss_that_is_no_number_ends_the_job(tmp_path: Path, encoder: Path) -> None:
    hyperparameters = {"n_epochs": 200, "learning_rate_multiplier": 1e30}
    folder = write_job(tmp_path / "job", encoder, reviews(40), hyperparameters=hyperparameters)
    assert main([str(folder)]) == 3
    error = json.loads((folder / "error.json").read_text())
    assert (error["code"], error["param"]) == ("training_diverged", "hyperparameters.learning_rate_multiplier")


def test_the_seed_decides_the_result(tmp_path: Path, encoder: Path) -> None:
    folders = [
        write_job(tmp_path / str(number), encoder, reviews(60), seed=seed, method="full")
        for number, seed in enumerate((5, 5, 6))
    ]
    assert [main([str(folder)]) for folder in folders] == [0, 0, 0]
    first, second, third = map(result, folders)
    assert first == second
    assert first[0] != third[0]


@pytest.mark.parametrize(
    ("package", "fields"),
    [
        ("torch", {}),
        ("peft", {"method": "lora"}),
        ("onnx", {"quantize": True}),
    ],
)
def test_a_package_that_is_not_installed_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else True)
    folder = write_job(tmp_path / "job", tmp_path, reviews(4), **fields)
    assert main([str(folder)]) == 3
    error = json.loads((folder / "error.json").read_text())
    assert error["code"] == "not_installed"
    assert f"needs the package {package}" in error["message"]
    assert f"pip install {package}." in error["message"]


class _Terminated(Checkpoints):
    """Has SIGTERM sent to its own process when a step was saved."""

    asked = False

    def save(self, step: int, write: Any) -> Path:
        saved = super().save(step, write)
        if step and not _Terminated.asked:
            _Terminated.asked = True
            os.kill(os.getpid(), signal.SIGTERM)
        return saved


def test_a_job_that_is_stopped_goes_on_to_the_same_result(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"method": "full", "hyperparameters": {"n_epochs": 3, "batch_size": 8}, "augment": True}
    whole, stopped = (write_job(tmp_path / name, encoder, reviews(60), **given) for name in ("whole", "stopped"))
    assert main([str(whole)]) == 0
    with monkeypatch.context() as patched:
        patched.setattr("engines.train.__main__.Checkpoints", _Terminated)
        assert main([str(stopped)]) == 4
    latest = Checkpoints(stopped / "checkpoints").latest()
    assert latest is not None
    total = events(whole, "metrics")[-1]["step"]
    assert 0 < int(latest.name.removeprefix("step-")) < total
    assert not (stopped / "result").exists()
    assert main([str(stopped)]) == 0
    assert f"The training goes on from {latest.name}." in [each["message"] for each in events(stopped, "message")]
    assert result(stopped) == result(whole)


def test_the_child_is_a_program(tmp_path: Path, encoder: Path) -> None:
    needed()
    folder = write_job(tmp_path / "job", encoder, reviews(4))
    done = subprocess.run([sys.executable, "-m", "engines.train", str(folder)], check=False, capture_output=True)
    assert done.returncode == 3
    assert json.loads((folder / "error.json").read_text())["code"] == "invalid_n_examples"
