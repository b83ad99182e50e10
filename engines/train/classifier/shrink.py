"""Makes a smaller model of a trained one: some of its layers or heads, trained on with labels, or its own answers too.

Pruning keeps the lowest layers (Sajjad et al.: On the Effect of Dropping Layers of Pre-trained Transformer Models,
2023), the most important attention heads (``heads``), or both. A distilled student begins with layers spread over all
of them, and learns from the trained model's softened answers beside the labels (Sanh et al.: DistilBERT, 2019).
"""

from __future__ import annotations

import copy
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from engines.onnx.model.model import Model
from engines.train.classifier.encoder import Base, Classifier, TokenIds, rows_until
from engines.train.classifier.export import checked, export
from engines.train.classifier.finetune import (
    BATCH_SIZE,
    Teacher,
    TextCourse,
    choose_parameters,
    layers_of,
    optimizer_of,
)
from engines.train.classifier.heads import Kept, check_heads, importances, keep_heads, most_important
from engines.train.classifier.prepare import Prepared
from engines.train.classifier.scores import Measured
from engines.train.errors import JobError
from engines.train.job import Chosen, Job
from engines.train.loop import Loop, Run, Trained

BUDGET_SHARE = 0.5
"""How much of the time budget the smaller model may take; the whole one has the rest."""

_TEACHING_SHARE = 0.3
"""How much of that may go into the whole model's answers; of more texts the student sees those that were answered.

The importance of heads has as much time at most.
"""

_TIMED_TEXTS, _TRIES = 32, 3
"""Each text counts with its best try: what else the machine does makes single ones many times as long."""

_MEGABYTE = 1e6


class Taught(NamedTuple):
    """What is known of the whole model: measurements, the training texts it has answered, and its logits of those.

    There are logits only where a student is to learn from them. ``heads`` are those that each layer keeps, where some
    are left out. ``left`` says in words what is left of the model.
    """

    before: Measured
    numbers: list[int]
    logits: Any
    heads: Kept | None
    left: str


def state_of(taught: Taught) -> dict[str, Any]:
    """Give what a checkpoint can hold."""
    return taught._asdict() | {"before": tuple(taught.before)}


def taught_of(state: Mapping[str, Any]) -> Taught:
    """Read what ``state_of`` gave."""
    return Taught(**{**state, "before": Measured(*state["before"])})


class Shrinking:
    """The second half of a job with ``prune`` or ``distill``."""

    def __init__(self, job: Job, run: Run, data: Prepared, base: Base) -> None:
        """Raises ``JobError`` where the base has too few layers, or heads that cannot be pruned."""
        self._job = job
        self._run = run
        self._data = data
        self._base = base
        self._numbers = kept_layers(job, layers_of(base.model))
        self._share = None if job.prune is None else job.prune.heads
        """How many of the heads are left out."""
        if self._share is not None:
            check_heads(base.model)

    def __repr__(self) -> str:
        return f"<Shrinking {self._job.id} [layers {self._numbers}]>"

    def learn_from(self, model: Classifier, accuracy: float, scratch: Path) -> Taught:
        """Measure the whole model, and ask it what a student is to learn."""
        with self._run.phase("shrink"):
            labels, validation = self._data.labels, self._tokens(self._data.validation)
            export(model, self._base, scratch, labels, multi_label=self._data.multi_label)
            served, _ = checked(self._job.name, scratch, model, self._base, validation)
            before = measured(served, model, accuracy, validation)
            shutil.rmtree(scratch)
            numbers, logits = list(range(len(self._data.training))), None
            if self._job.distill is not None:
                numbers, logits = self._answers(model.eval())
            heads = None if self._share is None else self._kept_heads(model, self._share)
            return Taught(before, numbers, logits, heads, self._left(heads))

    def train(
        self, whole: Classifier, taught: Taught, chosen: Chosen, kept: Mapping[str, Any], first: int, state: Any
    ) -> tuple[Classifier, Trained]:
        """Train what becomes of the whole model, or go on from a checkpoint's ``state``, after ``first`` steps."""
        torch.manual_seed(self._job.seed)
        model = with_layers(whole, self._numbers)
        if taught.heads is not None:
            keep_heads(model, taught.heads)
        choose_parameters(model, "full")
        data = replace(self._data, training=[self._data.training[number] for number in taught.numbers])
        teacher = None if self._job.distill is None else Teacher(taught.logits, self._job.distill.temperature)
        course = TextCourse(
            model,
            self._base,
            data,
            batch_size=chosen.batch_size,
            seed=self._job.seed,
            augment=self._job.augment,
            teacher=teacher,
        )
        optimizer = optimizer_of(model, "full", chosen.learning_rate_multiplier)
        loop = Loop(model, optimizer, course, self._run, kept, phase="shrink", first=first)
        with self._run.phase("shrink"):
            budget = max(1.0, BUDGET_SHARE * self._job.time_budget)
            schedule = loop.plan(chosen.n_epochs, budget, self._job.seed)
            if state is not None:
                loop.restore(state, schedule)
            trained = loop.run(schedule)
        return model, trained

    def _answers(self, model: Classifier) -> tuple[list[int], Any]:
        """Ask the whole model about training texts in random order until their time is over."""
        until = time.perf_counter() + _TEACHING_SHARE * BUDGET_SHARE * self._job.time_budget
        logits, numbers = rows_until(model, self._tokens(self._data.training), until, self._job.seed)
        return numbers, logits

    def _kept_heads(self, model: Classifier, share: float) -> Kept:
        """Choose the heads that are kept by what they mean to the whole model."""
        until = time.perf_counter() + _TEACHING_SHARE * BUDGET_SHARE * self._job.time_budget
        course = TextCourse(model, self._base, self._data, batch_size=BATCH_SIZE, seed=self._job.seed)
        importance = importances(model.eval(), course, until)
        return most_important([importance[number] for number in self._numbers], share)

    def _left(self, heads: Kept | None) -> str:
        """Say in words what is left of the model."""
        layers = f"{len(self._numbers)} layers"
        if heads is None:
            return layers
        each = self._base.model.config.num_attention_heads
        left = f"{sum(map(len, heads))} of {each * len(heads)} attention heads"
        return left if self._job.layers is None else f"{layers} with {left}"

    def _tokens(self, examples: Sequence[Any]) -> list[TokenIds]:
        return self._base.tokens([example.text for example in examples])


def kept_layers(job: Job, layers: Any) -> list[int]:
    """Choose which layers are kept: the lowest, or for a student as many spread from the first to the last.

    All are where only heads are left out. Raises ``JobError`` naming the field where there are not more than that.
    """
    name = "distill" if job.prune is None else "prune"
    total = 0 if layers is None else len(layers)
    if job.layers is None:
        return list(range(total))
    count = job.layers
    if not 0 < count < total:
        raise JobError(
            "invalid_hyperparameters",
            f"{name}.layers is {count}; it must be from 1 to {total - 1}, as the base model has {total} layers."
            if total > 1
            else f"The base model has no layers that {name} could leave out.",
            f"hyperparameters.{name}.layers",
        )
    if name == "prune" or count == 1:
        return list(range(count))
    return [round(number * (total - 1) / (count - 1)) for number in range(count)]


def with_layers(model: Classifier, numbers: Sequence[int]) -> Classifier:
    """Copy a model with some of its layers alone."""
    made = copy.deepcopy(model)
    layers = layers_of(made.encoder)
    for number in sorted(set(range(len(layers))) - set(numbers), reverse=True):
        del layers[number]
    made.encoder.config.num_hidden_layers = len(layers)
    return made


def measured(served: Model, model: Classifier, accuracy: float, texts: Sequence[TokenIds]) -> Measured:
    """Measure a model that was exported to ``served``."""
    seconds = [min(_seconds(served, text) for _ in range(_TRIES)) for text in texts[:_TIMED_TEXTS]]
    used = sum(each.numel() for name, each in model.named_parameters() if "pooler" not in name)
    return Measured(accuracy, used, served.file.stat().st_size / _MEGABYTE, 1000 * statistics.median(seconds))


def _seconds(served: Model, text: TokenIds) -> float:
    start = time.perf_counter()
    served.compute([text])
    return time.perf_counter() - start
