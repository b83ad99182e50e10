"""A trained model becomes a smaller one: fewer layers, the same answers, measured before and after."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from engines.train.checkpoints import Checkpoints
from engines.train.errors import JobError
from engines.train.job import Base as JobBase
from engines.train.job import Distill, Job, Prune
from tests.engines.train.tiny_models import events, needed, reviews, write_encoder, write_job

torch = needed()

from engines.train.__main__ import main  # noqa: E402
from engines.train.classifier.encoder import Base, Classifier, padded  # noqa: E402
from engines.train.classifier.finetune import layers_of, soft_loss  # noqa: E402
from engines.train.classifier.scores import Measured  # noqa: E402
from engines.train.classifier.shrink import Taught, kept_layers, state_of, taught_of, with_layers  # noqa: E402

pytestmark = pytest.mark.slow

JOB = Job("ftjob-1", "ft:tiny:me::1", "classifier", JobBase("tiny", "/m"), "/t.jsonl")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder", num_hidden_layers=4)


def job(prune: int | None = None, distill: int | None = None, heads: float | None = None) -> Job:
    return Job(
        *(JOB.id, JOB.name, JOB.kind, JOB.base, JOB.training_file),
        prune=None if prune is heads is None else Prune(prune, heads),
        distill=None if distill is None else Distill(distill),
    )


def said(folder: Path) -> str:
    return " ".join(event["message"] for event in events(folder, "message"))


@pytest.mark.parametrize(
    ("asked", "layers"),
    [
        (job(prune=3), [0, 1, 2]),
        (job(prune=3, heads=0.5), [0, 1, 2]),
        (job(heads=0.5), [0, 1, 2, 3, 4, 5]),
        (job(distill=3), [0, 2, 5]),
        (job(distill=2), [0, 5]),
        (job(distill=1), [0]),
        (job(distill=5), [0, 1, 2, 4, 5]),
    ],
)
def test_pruning_keeps_the_lowest_layers_and_a_student_has_some_of_all(asked: Job, layers: list[int]) -> None:
    assert kept_layers(asked, range(6)) == layers


@pytest.mark.parametrize(
    ("asked", "total", "reason", "param"),
    [
        (job(prune=6), 6, "prune.layers is 6; it must be from 1 to 5, as the base model has 6 layers", "prune"),
        (job(distill=9), 6, "distill.layers is 9; it must be from 1 to 5", "distill"),
        (job(prune=1), 1, "The base model has no layers that prune could leave out", "prune"),
    ],
)
def test_what_leaves_nothing_out_is_refused(asked: Job, total: int, reason: str, param: str) -> None:
    with pytest.raises(JobError, match=reason) as caught:
        kept_layers(asked, range(total))
    assert caught.value.param == f"hyperparameters.{param}.layers"


def test_the_copy_computes_what_the_layers_that_are_left_compute(encoder: Path) -> None:
    torch.manual_seed(1)
    base = Base(encoder)
    whole = Classifier(base.model, base.width, 2, cls=base.cls).eval()
    small = with_layers(whole, [0, 3])
    ids, mask = padded(base.tokens(["good film"]))
    with torch.inference_mode():
        first = whole.encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1]
        last = layers_of(whole.encoder)[3](first)
        wanted = last[0] if isinstance(last, tuple) else last
        assert torch.allclose(small.encoder(input_ids=ids, attention_mask=mask)[0], wanted, atol=1e-6)
    assert len(layers_of(whole.encoder)) == 4
    assert small.encoder.config.num_hidden_layers == 2


def test_a_student_that_answers_as_its_teacher_has_the_least_loss() -> None:
    taught = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    for multi_label in (False, True):
        same, other = (
            float(soft_loss(each, taught, 2.0, multi_label=multi_label)) for each in (taught, taught.flip(1))
        )
        assert same < other


def test_the_temperature_leaves_gradients_of_the_same_size() -> None:
    taught = torch.tensor([[0.02, 0.0]])
    sizes = []
    for temperature in (1.0, 4.0):
        logits = torch.zeros(1, 2, requires_grad=True)
        soft_loss(logits, taught, temperature, multi_label=False).backward()
        assert logits.grad is not None
        sizes.append(float(logits.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_what_was_taught_survives_a_checkpoint() -> None:
    taught = Taught(Measured(0.9, 10, 1.0, 2.0), [1, 0], torch.ones(2, 2), [[0], [1]], "2 of 4 attention heads")
    read = taught_of(state_of(taught))
    assert read._replace(logits=None) == taught._replace(logits=None)
    assert read.logits.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("how", [{"prune": {"layers": 2}}, {"distill": {"layers": 2, "temperature": 3.0}}])
def test_a_job_makes_a_smaller_model_and_the_card_compares(tmp_path: Path, encoder: Path, how: dict[str, Any]) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(120), **how)
    assert main([str(folder)]) == 0
    told = re.search(r"Made smaller, to 2 layers: accuracy (.+%), (.+%) before\.", said(folder))
    assert told is not None
    card = (folder / "result" / "card.md").read_text()
    assert ", made smaller. Job" in card
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in card.splitlines()}
    assert rows["accuracy"] == [told[2], told[1]]
    before, after = (int(each.replace(",", "")) for each in rows["parameters"])
    assert after < before
    assert float(rows["size in float32, MB"][1]) <= float(rows["size in float32, MB"][0])
    steps = [event["step"] for event in events(folder, "metrics")]
    assert steps == list(range(1, 1 + len(steps)))
    assert not (folder / "result" / "whole").exists()


def test_too_many_layers_end_the_job_before_anything_is_trained(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(120), prune={"layers": 4})
    assert main([str(folder)]) == 3
    assert json.loads((folder / "error.json").read_text())["param"] == "hyperparameters.prune.layers"
    assert events(folder, "metrics") == []


class _TerminatedWhileShrinking(Checkpoints):
    """Has SIGTERM sent to its own process at a step of the second half."""

    at = 0

    def save(self, step: int, write: Any) -> Path:
        saved = super().save(step, write)
        if step == _TerminatedWhileShrinking.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return saved


@pytest.mark.parametrize("how", [{"prune": {"layers": 2}}, {"prune": {"heads": 0.4}}, {"distill": {"layers": 2}}])
def test_a_job_that_is_stopped_while_it_shrinks_comes_to_the_same_model(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    given = {"method": "full", "hyperparameters": {"n_epochs": 2, "batch_size": 16}, **how}
    whole, stopped = (write_job(tmp_path / name, encoder, reviews(60), **given) for name in ("whole", "stopped"))
    assert main([str(whole)]) == 0
    steps = events(whole, "metrics")[-1]["step"]
    with monkeypatch.context() as patched:
        _TerminatedWhileShrinking.at = steps * 3 // 4
        patched.setattr("engines.train.__main__.Checkpoints", _TerminatedWhileShrinking)
        assert main([str(stopped)]) == 4
    assert main([str(stopped)]) == 0
    for file in ("metrics.csv", "model.json"):
        assert (stopped / "result" / file).read_bytes() == (whole / "result" / file).read_bytes()
