"""A model ready to answer: its tokenizer, graph and task, loaded and proven to fit each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.onnx.errors import InferenceFailed, ModelError
from engines.onnx.model.budget import SHORT, Budget, fit
from engines.onnx.model.endpoints.endpoint import Endpoint
from engines.onnx.model.endpoints.table import endpoints
from engines.onnx.model.folder import ModelFolder
from engines.onnx.model.moderation import Categories
from engines.onnx.model.session import Session
from engines.onnx.model.tasks import TASKS, Classify, EachRow, Task
from engines.onnx.model.tokens import PromptTokenizer, TokenIds

_WARM_UP_LENGTHS = (8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Model:
    """One model; ``budget`` says how large its batches should be, and how fast they are then, in one thread."""

    name: str
    file: Path
    tokenizer: PromptTokenizer
    session: Session
    task: Task
    budget: Budget
    endpoints: Mapping[str, Endpoint[Any]] = field(repr=False)

    def compute(self, texts: Sequence[TokenIds]) -> EachRow:
        """Run texts as one batch and give a row for each; blocks, and may run in several threads at once."""
        return self.task.compute(self.session, texts)


def load(
    name: str,
    path: Path,
    task: str,
    *,
    labels: Sequence[str] = (),
    max_length: int | None = None,
    truncate: bool = False,
    output: str | None = None,
    categories: Categories | None = None,
    gpu: bool = False,
) -> Model:
    """Load a folder's model, check that its parts fit, and warm it up.

    Without ``max_length`` the files say how long a text may be, in tokens; with ``truncate`` a longer one is cut unless
    its request says otherwise. ``output`` names the graph's output to read;
    ``categories`` make a classifier a moderator. Raises ``ModelError`` naming the file.
    """
    folder = ModelFolder(path)
    tokenizer = PromptTokenizer(folder.tokenizer, max_length or folder.max_length, truncate=truncate)
    session = Session(folder.graph, gpu=gpu)
    meaning = TASKS[task](folder, session, labels, output)
    _check_extremes(folder, tokenizer, session, meaning)
    _check_categories(folder, meaning, categories)
    try:
        budget = _warm_up(tokenizer, session, meaning)
    except InferenceFailed as error:
        raise ModelError(folder.graph, f"fails on ordinary texts: {error}") from error
    answered = endpoints(name, tokenizer, meaning, categories)
    return Model(name, folder.graph, tokenizer, session, meaning, budget, answered)


def _check_extremes(folder: ModelFolder, tokenizer: PromptTokenizer, session: Session, task: Task) -> None:
    """Run the greatest token id, the longest text and two texts at once, so that no request meets a refusal later."""
    last = tokenizer.vocabulary_size - 1
    try:
        width = task.compute(session, [[last]])[0].shape[-1]
    except InferenceFailed as error:
        raise ModelError(folder.tokenizer, f"its greatest token id {last} does not fit the graph: {error}") from error
    try:
        task.compute(session, [[last] * tokenizer.max_length])
    except (InferenceFailed, MemoryError, OverflowError) as error:
        reason = f"does not take {tokenizer.max_length} tokens, give a smaller --max-length: {error}"
        raise ModelError(folder.graph, reason) from error
    try:
        task.compute(session, [[last], [last] * 2])
    except InferenceFailed as error:
        raise ModelError(folder.graph, f"does not take two texts as one batch: {error}") from error
    task.check_width(width)


def _check_categories(folder: ModelFolder, task: Task, categories: Categories | None) -> None:
    if categories is None:
        return
    if not isinstance(task, Classify):
        raise ModelError(folder.path, "only a classifier can moderate")
    try:
        categories.check(task)
    except ValueError as error:
        raise ModelError(folder.graph, f"moderation: {error}") from error


def _warm_up(tokenizer: PromptTokenizer, session: Session, task: Task) -> Budget:
    """Run ordinary lengths once to touch all memory, then measure how large a batch should be."""
    word = tokenizer.vocabulary_size // 2
    for length in _WARM_UP_LENGTHS:
        if length <= tokenizer.max_length:
            task.compute(session, [[word] * length])
    text = [word] * min(SHORT, tokenizer.max_length)

    # A run on the CPU happens in the calling thread alone, whose own time does not count what others do meanwhile.
    clock = time.perf_counter if session.on_gpu else time.thread_time

    def seconds(texts: int) -> float:
        start = clock()
        task.compute(session, [text] * texts)
        return clock() - start

    return fit(seconds, len(text))
