"""A job that makes a classifier, from its examples to the folder that is served."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from engines.onnx.model import golden
from engines.onnx.model.activations import Logits, sigmoid, softmax
from engines.onnx.model.model import Model
from engines.train.classifier.card import Report, write_card
from engines.train.classifier.encoder import Base, Classifier, growing_rows, rows_of
from engines.train.classifier.export import checked, export
from engines.train.classifier.finetune import (
    BATCH_SIZE,
    Method,
    TextCourse,
    choose_parameters,
    epochs_for,
    merge,
    method_for,
    optimizer_of,
    truth_of,
    without_dropout,
)
from engines.train.classifier.int8 import Int8, quantize
from engines.train.classifier.prepare import prepare
from engines.train.classifier.probe import Probe, fit_growing, loss_of
from engines.train.classifier.robustness import Robustness, frozen, measure
from engines.train.classifier.scores import Scores, Shrunk, score
from engines.train.classifier.shrink import (
    BUDGET_SHARE,
    Shrinking,
    Taught,
    measured,
    state_of,
    taught_of,
)
from engines.train.errors import JobError
from engines.train.examples import read_texts
from engines.train.history import Row, write_metrics
from engines.train.job import Chosen, Job
from engines.train.loop import Loop, Run, Trained

_PROBE_SHARE = 0.6
"""How much of the time budget the probe may take where fine-tuning follows, as long as more examples teach it."""

_FIRST_EXAMPLES = 4
"""So many examples of each label, on average, are seen before it is asked whether twice as many teach more."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A linear head with how well it did on the validation data, and how long it took."""

    probe: Probe
    loss: float
    accuracy: float
    seconds: float
    pace: float
    """Seconds that it took to embed a text."""


def probe_seconds(method: str, budget: float) -> float:
    """Say how long the probe may embed examples: all of the budget where nothing follows it, else a share."""
    return budget * (1.0 if method == "probe" else _PROBE_SHARE)


@dataclass(frozen=True, slots=True)
class Whole:
    """What came of training all layers: accuracies as in ``Report``, what is kept of it, its steps and its tokens.

    ``head`` is the probe, which a whole model may be compared with. A checkpoint has none: that of a smaller model has
    no use for it.
    """

    probe: float
    fine_tuned: float | None
    kept: str
    history: list[Row]
    tokens: int
    head: Probe | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Whole:
        """Read what ``state`` gave."""
        return cls(**{**state, "history": [Row(*row) for row in state["history"]]})

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint can hold."""
        return {
            "probe": self.probe,
            "fine_tuned": self.fine_tuned,
            "kept": self.kept,
            "history": [tuple(row) for row in self.history],
            "tokens": self.tokens,
        }

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.history[-1].step if self.history else 0

    def followed_by(self, trained: Trained) -> Whole:
        """Count the steps of the smaller model, too."""
        return replace(self, history=[*self.history, *trained.history], tokens=self.tokens + trained.tokens)


class ClassifierJob:
    """One job while it runs."""

    def __init__(self, job: Job, run: Run, result: Path) -> None:
        """Read and prepare the examples, and load the base. Raises ``JobError``."""
        self._job = job
        self._run = run
        self._result = result
        torch.set_num_threads(job.threads)
        torch.manual_seed(job.seed)
        with run.phase("prepare"):
            self._data = prepare(read_texts(Path(job.training_file), job.validation), job.seed)
            for note in self._data.notes:
                run.events.message(note)
            self._base = Base(Path(job.base.weights))
            self._model = self._classifier()
            self._shrinking = None if job.smaller is None else Shrinking(job, run, self._data, self._base)
        self._budget = job.time_budget * (1.0 if job.smaller is None else 1 - BUDGET_SHARE)
        self._validation = self._base.tokens([example.text for example in self._data.validation])
        self._wanted = truth_of(self._data, validation=True)
        self._logits: Any = None
        """What the model as it is gives for the validation texts; ``None`` until that is asked for."""

    def __repr__(self) -> str:
        return f"<ClassifierJob {self._job.id} [{len(self._data.training)} examples, {len(self._data.labels)} labels]>"

    def complete(self) -> None:
        """Train, measure and write the result into its folder. Raises ``JobError``, and ``Stopped`` when asked to."""
        chosen = self._job.hyperparameters.resolved(epochs_for(len(self._data.training)), BATCH_SIZE)
        whole, taught = self._train(chosen)
        scores, robustness = self._evaluate(whole)
        served, difference, int8 = self._write_model()
        with self._run.phase("card"):
            write_metrics(self._result / "metrics.csv", whole.history)
            shrunk = None
            if taught is not None:
                after = measured(served, self._model, scores.accuracy, self._validation)
                shrunk = Shrunk(taught.before, after, taught.left)
            report = Report(
                job=self._job,
                data=self._data,
                method=self._job.method,
                kept=whole.kept,
                probe=whole.probe,
                fine_tuned=whole.fine_tuned,
                scores=scores,
                robustness=robustness,
                history=whole.history,
                hyperparameters=chosen._asdict(),
                tokens=whole.tokens,
                seconds=self._run.seconds,
                difference=difference,
                int8=int8,
                shrunk=shrunk,
            )
            write_card(report, self._result)

    def _train(self, chosen: Chosen) -> tuple[Whole, Taught | None]:
        """Train a model, and make it smaller where that is asked for; give what the whole one was before."""
        state = self._run.last_state()
        if state is None or "whole" not in state["kept"]:
            whole, state, taught = self._make_whole(chosen, state), None, None
        else:
            whole, taught = Whole.of(state["kept"]["whole"]), taught_of(state["kept"]["taught"])
        if self._shrinking is None:
            return whole, None
        taught = taught or self._shrinking.learn_from(self._model, self._accuracy(), self._result / "whole")
        trained = self._shrink(self._shrinking, whole, taught, chosen, state)
        return whole.followed_by(trained), taught

    def _make_whole(self, chosen: Chosen, state: dict[str, Any] | None) -> Whole:
        """Train a model of all layers, or go on with that."""
        judged = self._probe() if state is None else Judged(Probe(**state["kept"]["probe"]), *state["kept"]["judged"])
        self._begin_with(judged.probe)
        if self._job.method == "probe":
            return Whole(judged.accuracy, None, "probe", [], 0, judged.probe)
        trained = self._fine_tune(judged, chosen, state)
        fine_tuned, kept = self._choose(judged)
        return Whole(judged.accuracy, fine_tuned, kept, trained.history, trained.tokens, judged.probe)

    def _shrink(
        self, shrinking: Shrinking, whole: Whole, taught: Taught, chosen: Chosen, state: dict[str, Any] | None
    ) -> Trained:
        """Put a smaller model into the place of the whole one."""
        kept = {"whole": whole.state(), "taught": state_of(taught)}
        self._model, trained = shrinking.train(self._model, taught, chosen, kept, whole.steps, state)
        self._logits = None
        self._run.events.trained(whole.tokens + trained.tokens)
        self._run.events.message(
            f"Made smaller, to {taught.left}: accuracy {self._accuracy():.1%}, {taught.before.accuracy:.1%} before."
        )
        return trained

    def _accuracy(self) -> float:
        return self._judge(self._validate())[1]

    def _choose(self, judged: Judged) -> tuple[float, str]:
        """Give the accuracy of the fine-tuned model, and whether it or the probe is kept: with ``auto`` the better."""
        loss, accuracy = self._judge(self._validate())
        kept = "fine-tuned model"
        if self._job.method == "auto" and (accuracy, -loss) < (judged.accuracy, -judged.loss):
            kept = "probe"
            self._base = Base(Path(self._job.base.weights))
            self._model = self._classifier()
            self._begin_with(judged.probe)
        told = f"accuracy {judged.accuracy:.1%} of the probe, {accuracy:.1%} fine-tuned; the {kept} is kept"
        self._run.events.message(f"On {len(self._validation)} validation examples: {told}.")
        return accuracy, kept

    def _method(self, judged: Judged) -> Method:
        """Say what is trained; where the job leaves that open, what the time is enough for."""
        asked = self._job.method
        if asked == "full" or asked == "top_layers" or asked == "lora":
            return asked
        examples = len(self._data.training)
        return method_for(self._model.encoder, examples * judged.pace, self._budget - judged.seconds)

    def _classifier(self) -> Classifier:
        return Classifier(self._base.model, self._base.width, len(self._data.labels), cls=self._base.cls)

    def _begin_with(self, probe: Probe) -> None:
        probe.put_into(self._model.head)
        self._logits = None

    def _probe(self) -> Judged:
        """Fit a head to the frozen encoder, with as many examples as the time allows and as teach it something.

        Where fine-tuning follows, it is fitted each time that there are twice as many, until that gains little.
        """
        with self._run.phase("probe"):
            start = time.perf_counter()
            self._model.eval()
            validation = rows_of(self._model.embed, self._validation)
            texts = self._base.tokens([example.text for example in self._data.training])
            portions = growing_rows(
                self._model.embed,
                texts,
                len(texts) if self._job.method == "probe" else _FIRST_EXAMPLES * len(self._data.labels),
                start + probe_seconds(self._job.method, self._budget),
                self._job.seed,
                lambda share: self._run.events.progress("probe", share),
            )
            probe, seen = fit_growing(
                portions,
                truth_of(self._data, validation=False),
                self._data.weights,
                (validation, self._wanted),
                multi_label=self._data.multi_label,
            )
            self._tell_seen(len(seen.numbers), len(texts), enough=seen.enough)
            self._begin_with(probe)
            with torch.inference_mode():
                loss, accuracy = self._judge(self._model.head(validation))
            return Judged(probe, loss, accuracy, time.perf_counter() - start, seen.seconds / len(seen.numbers))

    def _tell_seen(self, seen: int, examples: int, *, enough: bool) -> None:
        if enough:
            self._run.events.message(f"The probe has seen {seen} of the {examples} examples; more teach it little.")
        elif seen < examples:
            self._run.events.message(f"The time allows the probe {seen} of the {examples} examples.")

    def _validate(self) -> Any:
        """Give the logits of the validation texts by the model as it is, shape (texts, labels)."""
        if self._logits is None:
            self._logits = rows_of(self._model.eval(), self._validation, exact=True)
        return self._logits

    def _judge(self, logits: Any) -> tuple[float, float]:
        """Give loss and accuracy of logits of the validation texts."""
        loss = loss_of(logits, self._wanted, self._data.weights, multi_label=self._data.multi_label)
        return float(loss), self._score(logits.numpy()).accuracy

    def _fine_tune(self, judged: Judged, chosen: Chosen, state: dict[str, Any] | None) -> Trained:
        """Train the encoder too, from where the probe or a checkpoint is."""
        self._run.events.resolved(chosen._asdict())
        method = self._method(judged)
        if self._job.method == "auto" and method == "top_layers":
            self._run.events.message(
                "The time does not allow each example once; the upper half of the layers is trained."
            )
        choose_parameters(self._model, method)
        course = TextCourse(
            self._model,
            self._base,
            self._data,
            batch_size=chosen.batch_size,
            seed=self._job.seed,
            augment=self._job.augment,
        )
        probe = {"weight": judged.probe.weight, "bias": judged.probe.bias, "penalty": judged.probe.penalty}
        kept = {"probe": probe, "judged": [judged.loss, judged.accuracy, judged.seconds, judged.pace]}
        optimizer = optimizer_of(self._model, method, chosen.learning_rate_multiplier)
        loop = Loop(self._model, optimizer, course, self._run, kept)
        with self._run.phase("train"):
            # The last step is followed by a validation, which belongs to the time as well.
            validation = judged.pace * len(self._validation)
            budget = max(1.0, self._budget - judged.seconds - validation)
            schedule = loop.plan(chosen.n_epochs, budget, self._job.seed)
            if state is None:
                loop.save(schedule)
            else:
                loop.restore(state, schedule)
            if schedule.total < schedule.most_steps:
                self._run.events.message(
                    f"The time allows about {schedule.total} of the {schedule.most_steps} steps of "
                    f"{chosen.n_epochs} epochs."
                )
            once = schedule.total * chosen.n_epochs <= schedule.most_steps
            with without_dropout(self._model) if once else nullcontext():
                trained = loop.run(schedule)
        self._run.events.trained(trained.tokens)
        merge(self._model, method)
        self._logits = course.validated
        return trained

    def _evaluate(self, whole: Whole) -> tuple[Scores, Robustness]:
        """Measure the model that is kept on the validation data, and on some of these texts changed."""
        with self._run.phase("evaluate"):
            logits = self._validate()
            beside = self._untaught(whole)
            robustness = measure(self._model, beside, self._base, self._data, logits, self._job.seed)
            return self._score(logits.numpy()), robustness

    def _untaught(self, whole: Whole) -> Classifier | None:
        """Give the probe, which has seen no typos, where the model has seen some and has the same layers."""
        if not self._job.augment or self._shrinking is not None or whole.kept == "probe" or whole.head is None:
            return None
        return frozen(Path(self._job.base.weights), whole.head)

    def _score(self, logits: Logits) -> Scores:
        wanted = self._wanted.numpy()
        activation = sigmoid if self._data.multi_label else softmax
        return score(activation(logits), wanted, multi_label=self._data.multi_label)

    def _write_model(self) -> tuple[Model, float, Int8 | None]:
        """Write the model's folder and what the gateway must know to serve it; give the model in float32."""
        folder = self._result / "model"
        job, data = self._job, self._data
        with self._run.phase("export"):
            export(self._model, self._base, folder, data.labels, multi_label=data.multi_label)
            served, difference = checked(job.name, folder, self._model, self._base, self._validation)
        int8 = None
        if job.quantize:
            with self._run.phase("quantize"):
                int8 = self._quantized(folder)
        self._write_options(folder, served, int8 is not None and int8.promoted)
        return served, difference, int8

    def _quantized(self, folder: Path) -> Int8 | None:
        """Have the int8 variant made; where that fails it is told, and the model is served in float32."""
        try:
            int8 = quantize(self._job.name, folder, self._data, self._base.max_length, self._job.threads)
        except JobError as error:
            self._run.events.message(f"{error.message} Float32 is served.", "warn")
            return None
        if not int8.promoted:
            self._run.events.message("The int8 variant did not pass its gate; float32 is served.", "warn")
        return int8

    def _write_options(self, folder: Path, served: Model, promoted: bool) -> None:
        """Write ``model.json``: options of a model of the ONNX engine, with a golden answer of what is served."""
        from engines.files.int8_variant import INT8
        from engines.onnx.model.model import load

        if promoted:
            served = load(self._job.name, folder / INT8, "classify", max_length=self._base.max_length)
        text = min((example.text.strip() for example in self._data.validation), key=len)
        while len(self._base.tokens([text])[0]) >= self._base.max_length:
            # Training cuts a text that is too long, and the engine refuses it.
            text = text[: len(text) // 2]
        # The labels stand in config.json alone: a command line, on which engines are told options, takes only so many,
        # and neither commas nor spaces at their ends.
        options: dict[str, Any] = {"tasks": ["classify"], "max_length": self._base.max_length}
        if promoted:
            options["variant"] = INT8
        options["golden"] = golden.record(served, text)
        content = msgspec.json.format(msgspec.json.encode(options), indent=2)
        (self._result / "model.json").write_bytes(content + b"\n")
