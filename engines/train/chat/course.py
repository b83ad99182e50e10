"""What the loop asks of a chat model: batches of conversations, and the loss of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from engines.train.chat.conversations import Tokens
from engines.train.loop import Score, StepLoss, autocast, batches_by_length, generator_of


class Judged(NamedTuple):
    """How well answers are predicted: mean loss and share of right tokens, and the share of answers right to the last.

    Such an answer is the one that the model gives when it always takes the likeliest token: each was the likeliest
    after those before it.
    """

    loss: float
    accuracy: float
    exact: float


class ChatCourse:
    """The conversations of a job, trained and validated."""

    def __init__(
        self, model: Any, training: Sequence[Tokens], validation: Sequence[Tokens], *, batch_size: int, seed: int
    ) -> None:
        self._model = model
        self._training = training
        self._validation = validation
        self._size = batch_size
        self._seed = seed

    def batches(self, epoch: int) -> list[list[Tokens]]:
        """Give an epoch's batches, each of like length."""
        lengths = [len(each.ids) for each in self._training]
        drawn = batches_by_length(lengths, self._size, generator_of(self._seed, epoch))
        return [[self._training[number] for number in batch] for batch in drawn]

    def loss(self, batch: Sequence[Tokens]) -> StepLoss:
        """Compute the mean loss of a batch's learnt tokens."""
        logits, labels, _ = learnt_logits(self._model, batch)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return StepLoss(loss, int((logits.argmax(dim=1) == labels).sum()), len(labels))

    def tokens(self, batch: Sequence[Tokens]) -> int:
        """Count a batch's tokens."""
        return sum(len(each.ids) for each in batch)

    def validate(self) -> Score:
        """Measure on the validation data."""
        judged = self.judge()
        return Score(judged.loss, judged.accuracy)

    def judge(self) -> Judged:
        """Measure on the validation data, whole answers too."""
        losses, right, count, exact = 0.0, 0, 0, 0
        order = sorted(self._validation, key=lambda each: len(each.ids))
        for start in range(0, len(order), self._size):
            batch = order[start : start + self._size]
            with torch.inference_mode(), autocast():
                logits, labels, rows = learnt_logits(self._model, batch)
            hits = logits.argmax(dim=1) == labels
            losses += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            right, count = right + int(hits.sum()), count + len(labels)
            exact += sum(bool(hits[rows == row].all()) for row in range(len(batch)))
        return Judged(losses / count, right / count, exact / len(order))


def learnt_logits(model: Any, batch: Sequence[Tokens]) -> tuple[Any, Any, Any]:
    """Compute the logits that predict learnt tokens, and no others: a vocabulary is wide, and answers are short.

    Gives logits, shape (learnt tokens, vocabulary), the tokens' ids, and the row of the batch that each is in.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    longest = max(len(each.ids) for each in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    learnt = torch.zeros(len(batch), longest, dtype=torch.bool)
    for row, each in enumerate(batch):
        ids[row, : len(each.ids)] = torch.tensor(each.ids)
        mask[row, : len(each.ids)] = 1
        learnt[row, : len(each.ids)] = torch.tensor(each.learnt)
    states = causal.base_model(input_ids=ids, attention_mask=mask, use_cache=False)[0]
    # A token is predicted by the state before it.
    wanted = learnt[:, 1:]
    logits = causal.get_output_embeddings()(states[:, :-1][wanted]).float()
    return logits, ids[:, 1:][wanted], wanted.nonzero()[:, 0]
