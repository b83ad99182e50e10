"""A job that makes a LoRA adapter, from its conversations to the folder that vLLM loads."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

from engines.errors import EngineError
from engines.files.adapters import read_adapter
from engines.train.chat.base import RANK, ChatBase
from engines.train.chat.card import Report, write_card
from engines.train.chat.conversations import LONGEST, Tokens, tokens_of
from engines.train.chat.course import ChatCourse, Judged, learnt_logits
from engines.train.errors import JobError
from engines.train.examples import ChatData, read_chats
from engines.train.history import write_metrics
from engines.train.job import Chosen, Job
from engines.train.loop import Loop, Run, Trained

_RATE = 1e-3
_BATCH_SIZE = 8
_EPOCHS = 3
_HELD_BACK = 0.1
_MOST_HELD_BACK = 100
_LEAST_CHANGE = 1e-3
"""By how much the adapter has to change some logit, or it has failed."""


class ChatJob:
    """One job while it runs."""

    def __init__(self, job: Job, run: Run, result: Path) -> None:
        """Read the conversations and load the base. Raises ``JobError``."""
        self._job = job
        self._run = run
        self._result = result
        torch.set_num_threads(job.threads)
        with run.phase("prepare"):
            data = held_back(read_chats(Path(job.training_file), job.validation), job.seed)
            self._base = ChatBase(Path(job.base.weights))
            self._training = self._tokens(data, "training")
            self._validation = self._tokens(data, "validation")

    def __repr__(self) -> str:
        return f"<ChatJob {self._job.id} [{len(self._training)} conversations]>"

    def complete(self) -> None:
        """Train, measure and write the result into its folder. Raises ``JobError``, and ``Stopped`` when asked to."""
        job, run = self._job, self._run
        chosen = job.hyperparameters.resolved(_EPOCHS, _BATCH_SIZE)
        run.events.resolved(chosen._asdict())
        state = run.last_state()
        torch.manual_seed(job.seed)
        model = self._base.adapt(job.base.name)
        course = ChatCourse(model, self._training, self._validation, batch_size=chosen.batch_size, seed=job.seed)
        with run.phase("train"):
            before = course.judge() if state is None else Judged(*state["kept"]["before"])
            trained = self._train(model, course, chosen, before, state)
        run.events.trained(trained.tokens)
        with run.phase("evaluate"):
            model.eval()
            after = course.judge()
        with run.phase("export"):
            change = self._save(model)
        with run.phase("card"):
            write_metrics(self._result / "metrics.csv", trained.history)
            report = Report(
                job=job,
                rank=RANK,
                trained=len(self._training),
                validated=len(self._validation),
                before=before,
                after=after,
                history=trained.history,
                hyperparameters=chosen._asdict(),
                tokens=trained.tokens,
                seconds=run.seconds,
                change=change,
            )
            write_card(report, self._result)
        told = f"{before.exact:.0%} of the answers were exact before, and {after.exact:.0%} are now"
        run.events.message(f"On {len(self._validation)} validation conversations {told}.")

    def _train(
        self, model: Any, course: ChatCourse, chosen: Chosen, before: Judged, state: dict[str, Any] | None
    ) -> Trained:
        parameters = [each for each in model.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=_RATE * chosen.learning_rate_multiplier, weight_decay=0.0)
        loop = Loop(model, optimizer, course, self._run, {"before": list(before)})
        schedule = loop.plan(chosen.n_epochs, self._job.time_budget, self._job.seed)
        if state is not None:
            loop.restore(state, schedule)
        return loop.run(schedule)

    def _tokens(self, data: ChatData, which: str) -> list[Tokens]:
        chats = data.training if which == "training" else data.validation
        longest = min(self._base.longest or LONGEST, LONGEST)
        tokens, left_out = tokens_of(chats, self._base.tokenizer, longest)
        if left_out:
            told = f"{left_out} of {len(chats)} {which} conversations are left out: their answers begin after "
            self._run.events.message(f"{told}{longest} tokens.", "warn")
        if not tokens:
            raise JobError(
                f"invalid_{which}_file",
                f"No answer of the {which} conversations is within {longest} tokens.",
                f"{which}_file",
            )
        return tokens

    def _save(self, model: Any) -> float:
        """Save the adapter, and give by how much it changes a logit at most. Raises ``JobError`` if by nothing.

        An adapter with the wrong names of modules loads without a word and changes nothing, so the names that were
        saved are looked for in the base.
        """
        folder = self._result / "adapter"
        with torch.inference_mode():
            adapted, _, _ = learnt_logits(model, self._validation[:1])
            with model.disable_adapter():
                plain, _, _ = learnt_logits(model, self._validation[:1])
        change = float((adapted - plain).abs().max())
        model.save_pretrained(folder, save_embedding_layers=False)
        try:
            saved = read_adapter(folder)
        except EngineError as error:
            raise JobError("invalid_adapter", f"The adapter that was saved cannot be read: {error}") from error
        known = {name.replace(".base_layer", "") for name, _ in model.get_base_model().named_modules()}
        unknown = [name for name in saved.modules if name not in known]
        if unknown:
            raise JobError("invalid_adapter", f"The adapter names modules that its base does not have: {unknown[:3]}.")
        if not change >= _LEAST_CHANGE:
            raise JobError("adapter_without_effect", f"The adapter changes no logit by more than {change:.2g}.")
        return change


def held_back(data: ChatData, seed: int) -> ChatData:
    """Hold back a tenth of the conversations, at most a hundred, where no file was given to validate with."""
    if data.validation:
        return data
    count = max(1, min(_MOST_HELD_BACK, round(_HELD_BACK * len(data.training))))
    held = set(random.Random(seed).sample(range(len(data.training)), count))  # noqa: S311 - nothing is secret
    return ChatData(
        [chat for at, chat in enumerate(data.training) if at not in held],
        [chat for at, chat in enumerate(data.training) if at in held],
    )
