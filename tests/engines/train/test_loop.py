"""The loop trains what has a gradient, keeps to its schedule, and leaves checkpoints that training goes on from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the engines are not installed here")

from engines.train.checkpoints import Checkpoints  # noqa: E402
from engines.train.errors import JobError, Stopped  # noqa: E402
from engines.train.events import EventLog  # noqa: E402
from engines.train.history import Row  # noqa: E402
from engines.train.loop import (  # noqa: E402
    Loop,
    Run,
    Score,
    StepLoss,
    batches_by_length,
    generator_of,
    metrics_of,
)
from engines.train.schedule import Schedule  # noqa: E402
from engines.train.stop import StopSignal  # noqa: E402

pytestmark = pytest.mark.slow


class Halves:
    """A line is fitted to y = x / 2; a batch is one x."""

    def __init__(self, model: Any, factor: float = 1.0) -> None:
        self._model = model
        self._factor = factor

    def batches(self, epoch: int) -> Sequence[float]:
        return [float(x) for x in torch.randperm(5, generator=generator_of(1, epoch))]

    def loss(self, batch: float) -> StepLoss:
        loss = (self._model(torch.tensor([batch])) - batch / 2).square().sum() * self._factor
        return StepLoss(loss, int(loss < 0.1), 1)

    def tokens(self, batch: float) -> int:
        return 2

    def validate(self) -> Score:
        assert not self._model.training
        return Score(0.25, 0.5)


def line() -> Any:
    torch.manual_seed(1)
    return torch.nn.Linear(1, 1)


@pytest.fixture
def events(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.jsonl") as log:
        yield log


def loop(model: Any, folder: Path, events: EventLog, stop: StopSignal | None = None, **course: Any) -> Loop[float]:
    run = Run(events, Checkpoints(folder / "checkpoints"), stop or StopSignal())
    return Loop(model, torch.optim.AdamW(model.parameters(), lr=0.1), Halves(model, **course), run, {"note": "kept"})


def test_the_loss_falls_and_each_epoch_is_validated(tmp_path: Path, events: EventLog) -> None:
    model = line()
    trained = loop(model, tmp_path, events).run(Schedule(100, budget=600, pace=0.01))
    assert len(trained.history) == 100
    assert trained.tokens == 200
    assert trained.history[-1].train_loss < 0.05 < trained.history[0].train_loss
    assert [row.step for row in trained.history if row.valid_loss == 0.25] == list(range(5, 101, 5))
    assert model.training


def test_planning_changes_no_parameter(tmp_path: Path, events: EventLog) -> None:
    model = line()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    schedule = loop(model, tmp_path, events).plan(epochs=3, budget=600, seed=1)
    assert schedule.most_steps == schedule.total == 15
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_tried_are_neither_the_longest_nor_the_shortest_batches(tmp_path: Path, events: EventLog) -> None:
    asked: list[float] = []

    class Longer(Halves):
        def tokens(self, batch: float) -> int:
            return int(10 * batch)

        def loss(self, batch: float) -> StepLoss:
            asked.append(batch)
            return super().loss(batch)

    model = line()
    run = Run(events, Checkpoints(tmp_path / "checkpoints"), StopSignal())
    Loop(model, torch.optim.AdamW(model.parameters()), Longer(model), run, {}).plan(epochs=1, budget=600, seed=1)
    assert sorted(set(asked)) == [1.0, 3.0]


def test_what_is_restored_goes_on_to_the_same_weights(tmp_path: Path, events: EventLog) -> None:
    whole = line()
    loop(whole, tmp_path, events).run(Schedule(20, budget=600, pace=0.01))
    stop = StopSignal()
    half = line()
    schedule = Schedule(20, budget=600, pace=0.01)

    class _Stopping(Schedule):
        def advance(self, seconds: float) -> None:
            super().advance(seconds)
            stop.requested = self.step == 7

    schedule.__class__ = _Stopping
    (tmp_path / "half").mkdir()
    with pytest.raises(Stopped):
        loop(half, tmp_path / "half", events, stop).run(schedule)
    latest = Checkpoints(tmp_path / "half" / "checkpoints").latest()
    assert latest is not None
    assert latest.name == "step-7"
    state = Run(events, Checkpoints(tmp_path / "half" / "checkpoints"), stop).last_state()
    assert state is not None
    assert state["kept"] == {"note": "kept"}
    rest, schedule = torch.nn.Linear(1, 1), Schedule(1, budget=1, pace=1)
    other = loop(rest, tmp_path / "half", events)
    other.restore(state, schedule)
    trained = other.run(schedule)
    assert [row.step for row in trained.history] == list(range(1, 21))
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in rest.state_dict().items())


def test_frozen_parameters_stay_and_are_not_saved(tmp_path: Path, events: EventLog) -> None:
    model = line()
    model.bias.requires_grad = False
    before = model.bias.clone()
    loop(model, tmp_path, events).run(Schedule(5, budget=600, pace=0.01))
    assert torch.equal(model.bias, before)
    state = Run(events, Checkpoints(tmp_path / "checkpoints"), StopSignal()).last_state()
    assert state is not None
    assert set(state["model"]) == {"weight"}


def test_a_loss_that_is_no_number_is_an_error(tmp_path: Path, events: EventLog) -> None:
    with pytest.raises(JobError, match="The loss is nan at step 1") as caught:
        loop(line(), tmp_path, events, factor=math.nan).run(Schedule(5, budget=600, pace=0.01))
    assert caught.value.code == "training_diverged"


def test_batches_are_of_like_length_and_have_every_number_once() -> None:
    lengths = [n % 10 for n in range(200)]
    batches = batches_by_length(lengths, 8, generator_of(1, 0))
    assert sorted(number for batch in batches for number in batch) == list(range(200))
    assert max(max(lengths[n] for n in batch) - min(lengths[n] for n in batch) for batch in batches) <= 1
    assert batches == batches_by_length(lengths, 8, generator_of(1, 0))
    assert batches != batches_by_length(lengths, 8, generator_of(1, 1))


def test_metrics_have_openais_names() -> None:
    assert metrics_of(Row(1, 0.5, 1.0)) == {"train_loss": 0.5, "train_mean_token_accuracy": 1.0}
    assert metrics_of(Row(1, 0.5, 1.0, 0.25, 0.75)) == {
        "train_loss": 0.5,
        "train_mean_token_accuracy": 1.0,
        "valid_loss": 0.25,
        "valid_mean_token_accuracy": 0.75,
        "full_valid_loss": 0.25,
        "full_valid_mean_token_accuracy": 0.75,
    }


def test_a_phase_is_told_and_timed(tmp_path: Path, events: EventLog) -> None:
    run = Run(events, Checkpoints(tmp_path / "checkpoints"), StopSignal())
    assert run.last_state() is None
    with run.phase("export"):
        pass
    assert run.seconds["export"] >= 0
    told = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["share"] for line in told] == [0.0, 1.0]
