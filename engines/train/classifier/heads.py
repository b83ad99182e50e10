"""Prunes attention heads of a trained encoder: those first that the loss would miss the least.

The importance of a head is how strongly the loss answers to a mask on its output: the mean of the gradient's absolute
value, at a mask of one, over batches of the training texts. Importances are divided by the length of their layer's
vector, and ranked over all layers (Michel, Levy, Neubig: Are Sixteen Heads Really Better than One?, 2019).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from transformers.pytorch_utils import prune_linear_layer

from engines.train.classifier.encoder import Classifier
from engines.train.classifier.finetune import TextCourse, layers_of
from engines.train.errors import JobError

_MOST_BATCHES = 32
"""A thousand texts tell which heads matter."""

Kept = list[list[int]]
"""The numbers of the heads that each layer keeps, at least one."""


class _Names(NamedTuple):
    """What a layer calls the linear layers whose outputs are heads, and the one that joins these."""

    heads: tuple[str, str, str]
    joined: str


_BERT = _Names(("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense")
_DISTILBERT = _Names(("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin")
_NAMES = dict.fromkeys(("bert", "camembert", "electra", "roberta", "xlm-roberta"), _BERT) | {"distilbert": _DISTILBERT}
"""By the type of the model. These take as many heads as their linear layers have."""


def check_heads(encoder: Any) -> None:
    """Raise ``JobError`` naming the field where an encoder's heads cannot be pruned."""
    kind = encoder.config.model_type
    if encoder.config.num_attention_heads == 1:
        raise JobError(
            "invalid_hyperparameters",
            "The base model has one attention head in each layer, and each layer keeps one.",
            "hyperparameters.prune.heads",
        )
    if kind not in _NAMES:
        raise JobError(
            "invalid_hyperparameters",
            f"The base model is of the type {kind!r}, whose attention heads cannot be pruned; those of "
            f"{', '.join(_NAMES)} can. Its layers can be, with prune.layers.",
            "hyperparameters.prune.heads",
        )


def importances(model: Classifier, course: TextCourse, until: float) -> list[Any]:
    """Give each layer's vector of its heads' importance, from as many batches as there is time for, one at least.

    ``until`` is a moment of ``perf_counter``. The model is one that evaluates; no parameter changes.
    """
    names, size = _names_of(model.encoder), _size_of(model.encoder)
    joined = [layer.get_submodule(names.joined) for layer in layers_of(model.encoder)]
    masks = [torch.ones(each.in_features // size, requires_grad=True) for each in joined]
    found = [torch.zeros_like(mask) for mask in masks]
    with ExitStack() as hooks:
        for each, mask in zip(joined, masks, strict=True):
            hooks.enter_context(_Masked(each, mask))
        for batch in course.batches(0)[:_MOST_BATCHES]:
            gradients = torch.autograd.grad(course.loss(batch).loss, masks)
            found = [sums + gradient.abs() for sums, gradient in zip(found, gradients, strict=True)]
            if time.perf_counter() >= until:
                break
    return [sums / sums.norm().clamp_min(torch.finfo(sums.dtype).tiny) for sums in found]


def most_important(importance: Sequence[Any], share: float) -> Kept:
    """Choose the heads that are kept when a ``share`` of all is left out: the least important, one at least.

    No layer loses its best one, so that fewer are left out of some layers where the share is large.
    """
    best = [int(values.argmax()) for values in importance]
    others = sorted(
        (float(value), layer, head)
        for layer, values in enumerate(importance)
        for head, value in enumerate(values)
        if head != best[layer]
    )
    count = max(1, round(share * sum(map(len, importance))))
    left_out = {(layer, head) for _, layer, head in others[:count]}
    return [
        [head for head in range(len(values)) if (layer, head) not in left_out]
        for layer, values in enumerate(importance)
    ]


def keep_heads(model: Classifier, kept: Kept) -> None:
    """Cut all other heads out of a model's layers."""
    names, size = _names_of(model.encoder), _size_of(model.encoder)
    for layer, heads in zip(layers_of(model.encoder), kept, strict=True):
        numbers = torch.tensor([head * size + at for head in heads for at in range(size)])
        for name in names.heads:
            layer.set_submodule(name, prune_linear_layer(layer.get_submodule(name), numbers))
        layer.set_submodule(names.joined, prune_linear_layer(layer.get_submodule(names.joined), numbers, dim=1))


class _Masked:
    """Multiplies what a layer that joins heads gets of each by a number, between entering and leaving."""

    def __init__(self, joined: Any, mask: Any) -> None:
        self._joined = joined
        self._mask = mask

    def __enter__(self) -> None:
        self._hook = self._joined.register_forward_pre_hook(self._apply)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _apply(self, _: Any, given: tuple[Any]) -> tuple[Any]:
        heads = given[0].unflatten(-1, (len(self._mask), -1))
        return ((heads * self._mask.unsqueeze(-1)).flatten(-2),)


def _names_of(encoder: Any) -> _Names:
    return _NAMES[encoder.config.model_type]


def _size_of(encoder: Any) -> int:
    """Give the width of a head."""
    return int(encoder.config.hidden_size // encoder.config.num_attention_heads)
