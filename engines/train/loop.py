"""The training loop of both kinds of job: steps within a time budget, checkpoints, and a stop that loses nothing.

It is our own, because the number of steps follows the budget and the pace while it runs, because a stop must leave a
checkpoint that appears in one step, and because what goes on must come to the same result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

from engines.train.checkpoints import Checkpoints
from engines.train.errors import JobError, Stopped
from engines.train.events import Events, Phase
from engines.train.history import Row
from engines.train.schedule import Schedule
from engines.train.stop import StopSignal

_CHECKPOINT_SECONDS = 30.0
_CLIPPED_NORM = 1.0
_TRIED_QUARTERS = (1, 3)
_STATE_FILE = "state.pt"

Batch = TypeVar("Batch")


class StepLoss(NamedTuple):
    """The loss of a batch as a tensor, how many of its labels were right, and how many there are."""

    loss: Any
    right: int
    labels: int


class Score(NamedTuple):
    """Loss and share of right labels on the validation data."""

    loss: float
    accuracy: float


class Course(Protocol[Batch]):
    """What is trained: the batches of an epoch, the loss of one, and how well it goes."""

    def batches(self, epoch: int) -> Sequence[Batch]:
        """Give an epoch's batches, always the same for the same epoch and always as many."""

    def loss(self, batch: Batch) -> StepLoss:
        """Compute the loss of a batch."""

    def tokens(self, batch: Batch) -> int:
        """Count a batch's tokens."""

    def validate(self) -> Score:
        """Measure on the validation data."""


@dataclass(frozen=True, slots=True)
class Run:
    """What surrounds a training: where its events and checkpoints go, and who may stop it."""

    events: Events
    checkpoints: Checkpoints
    stop: StopSignal
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each phase took."""

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Tell that a phase begins and ends, and add to its time."""
        self.events.progress(phase, 0.0)
        start = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
        self.events.progress(phase, 1.0, 0.0)

    def last_state(self) -> dict[str, Any] | None:
        """Read the newest checkpoint, if there is one: what ``Loop.save`` wrote. No code of it is run."""
        latest = self.checkpoints.latest()
        if latest is None:
            return None
        self.events.message(f"The training goes on from {latest.name}.")
        state: dict[str, Any] = torch.load(latest / _STATE_FILE, weights_only=True)
        return state


@dataclass(slots=True)
class Trained:
    """What came of a training; ``seconds`` is what it took of its budget."""

    history: list[Row] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0


def computes_in_bfloat16() -> bool:
    """Tell whether the processor has instructions for bfloat16; elsewhere it is slower than float32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast() -> AbstractContextManager[Any]:
    """Compute products in bfloat16 where that is fast."""
    return torch.autocast("cpu", torch.bfloat16) if computes_in_bfloat16() else nullcontext()


class Loop(Generic[Batch]):
    """Trains the parameters of ``model`` that need a gradient. ``kept`` is put into each checkpoint beside them.

    ``first`` is how many steps of the job others have taken before; steps are told and numbered from there on.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        course: Course[Batch],
        run: Run,
        kept: Mapping[str, Any],
        *,
        phase: Phase = "train",
        first: int = 0,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._course = course
        self._run = run
        self._kept = kept
        self._phase: Phase = phase
        self._first = first
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self.trained = Trained()

    def plan(self, epochs: int, budget: float, seed: int) -> Schedule:
        """Measure how long a step takes, by trying a few, and plan with that. No parameter changes.

        Those that are tried are neither the longest nor the shortest ones, as a step's time goes by its batch's tokens.
        The generator of random numbers is seeded afterwards, so that what was tried leaves no trace.
        """
        batches = self._course.batches(0)
        by_tokens = sorted(batches, key=self._course.tokens)
        tried = [by_tokens[len(batches) * part // 4] for part in _TRIED_QUARTERS]
        begin = time.perf_counter()
        self._gradient(tried[0])  # The first one allocates, and is slower.
        start = time.perf_counter()
        for batch in tried:
            self._gradient(batch)
        end = time.perf_counter()
        self._optimizer.zero_grad()
        torch.manual_seed(seed)
        schedule = Schedule(epochs * len(batches), budget, (end - start) / len(tried))
        schedule.spend(end - begin)
        return schedule

    def restore(self, state: Mapping[str, Any], schedule: Schedule) -> None:
        """Go on from what ``Run.last_state`` gives."""
        self._model.load_state_dict(state["model"], strict=False)
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        schedule.restore(state["schedule"])
        self.trained.history = [Row(*row) for row in state["history"]]
        self.trained.tokens = state["tokens"]

    def run(self, schedule: Schedule) -> Trained:
        """Take all steps. Raises ``Stopped`` after a checkpoint, and ``JobError`` if the loss is no number any more."""
        self._model.train()
        with self._run.stop.deferred():
            self._take_steps(schedule)
        self.trained.seconds = schedule.seconds
        return self.trained

    def _take_steps(self, schedule: Schedule) -> None:
        epoch, batches = -1, self._course.batches(0)
        saved = time.perf_counter()
        while not schedule.done:
            if self._run.stop.requested:
                self.save(schedule)
                raise Stopped
            at, position = divmod(schedule.step, len(batches))
            if at != epoch:
                epoch, batches = at, self._course.batches(at)
            row = self._step(batches[position], schedule)
            ended = schedule.done or position == len(batches) - 1
            if ended:
                row = self._validated(row, schedule)
            self.trained.history.append(row)
            self._tell(row, schedule)
            if ended or time.perf_counter() - saved > _CHECKPOINT_SECONDS:
                self.save(schedule)
                saved = time.perf_counter()

    def _step(self, batch: Batch, schedule: Schedule) -> Row:
        start = time.perf_counter()
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * schedule.rate
        found, loss = self._gradient(batch)
        if not math.isfinite(loss):
            raise JobError(
                "training_diverged",
                f"The loss is {loss} at step {schedule.step + 1}; a smaller learning_rate_multiplier may help.",
                "hyperparameters.learning_rate_multiplier",
            )
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIPPED_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.trained.tokens += self._course.tokens(batch)
        schedule.advance(time.perf_counter() - start)
        return Row(self._first + schedule.step, loss, found.right / max(1, found.labels))

    def _gradient(self, batch: Batch) -> tuple[StepLoss, float]:
        with autocast():
            found = self._course.loss(batch)
        found.loss.backward()
        return found, float(found.loss.detach())

    def _validated(self, row: Row, schedule: Schedule) -> Row:
        start = time.perf_counter()
        self._model.eval()
        score = self._course.validate()
        self._model.train()
        schedule.spend(time.perf_counter() - start)
        return row._replace(valid_loss=score.loss, valid_accuracy=score.accuracy)

    def _tell(self, row: Row, schedule: Schedule) -> None:
        self._run.events.metrics(row.step, self._first + schedule.total, metrics_of(row))
        self._run.events.progress(self._phase, schedule.step / schedule.total, round(schedule.seconds_left, 1))

    def save(self, schedule: Schedule) -> None:
        """Write a checkpoint of the step that was taken last."""
        needed = {name for name, parameter in self._model.named_parameters() if parameter.requires_grad}
        state = {
            "model": {name: value for name, value in self._model.state_dict().items() if name in needed},
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "schedule": schedule.state(),
            "history": [tuple(row) for row in self.trained.history],
            "tokens": self.trained.tokens,
            "kept": dict(self._kept),
        }
        start = time.perf_counter()
        step = self._first + schedule.step
        path = self._run.checkpoints.save(step, lambda folder: torch.save(state, folder / _STATE_FILE))
        schedule.spend(time.perf_counter() - start)
        last = self.trained.history[-1:]
        self._run.events.checkpoint(step, path, metrics_of(last[0]) if last else {})


def metrics_of(row: Row) -> dict[str, float]:
    """Name what was measured as OpenAI's events do."""
    metrics = {"train_loss": row.train_loss, "train_mean_token_accuracy": row.train_accuracy}
    if row.valid_loss is not None and row.valid_accuracy is not None:
        metrics |= {"valid_loss": row.valid_loss, "valid_mean_token_accuracy": row.valid_accuracy}
        metrics |= {"full_valid_loss": row.valid_loss, "full_valid_mean_token_accuracy": row.valid_accuracy}
    return metrics


def batches_by_length(lengths: Sequence[int], size: int, generator: Any) -> list[list[int]]:
    """Draw batches of numbers, each of like lengths, in random order.

    The shuffled numbers are sorted within stretches of fifty batches, so that batches differ from epoch to epoch.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    stretch = 50 * size
    batches: list[list[int]] = []
    for start in range(0, len(order), stretch):
        part = sorted(order[start : start + stretch], key=lambda number: lengths[number])
        batches += [part[at : at + size] for at in range(0, len(part), size)]
    return [batches[at] for at in torch.randperm(len(batches), generator=generator).tolist()]


def generator_of(seed: int, epoch: int) -> Any:
    """Make the generator of random numbers of an epoch."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
