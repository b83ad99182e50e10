"""What turns a classifier's logits into probabilities and a cross-encoder's into scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from engines.onnx.errors import ModelError
from engines.onnx.model.folder import ModelConfig, ModelFolder

Logits = npt.NDArray[np.float32]
Activation = Callable[[Logits], Logits]
"""Takes logits and gives their activations, the classes on the last axis of both."""


def activation_of(folder: ModelFolder, config: ModelConfig) -> Activation:
    """Find the activation as vLLM does: by the problem's type, else by what a cross-encoder names."""
    if config.problem_type is not None:
        if config.problem_type not in _ACTIVATIONS:
            raise ModelError(folder.path / "config.json", f"unknown problem_type {config.problem_type!r}")
        return _ACTIVATIONS[config.problem_type]
    named = config.activation
    if named is not None:
        if named not in _TORCH_ACTIVATIONS:
            raise ModelError(
                folder.path / "config.json", f"activation {named!r} is not one of {list(_TORCH_ACTIVATIONS)}"
            )
        return _TORCH_ACTIVATIONS[named]
    return probabilities


def probabilities(logits: Logits) -> Logits:
    """Make probabilities of logits: one class alone is a yes or a no."""
    return sigmoid(logits) if logits.shape[-1] == 1 else softmax(logits)


def softmax(logits: Logits) -> Logits:
    """Make probabilities that add up to 1 over the last axis."""
    powers: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: Logits = powers.sum(axis=-1, keepdims=True)
    return np.divide(powers, total, dtype=np.float32)


def sigmoid(logits: Logits) -> Logits:
    """Make a probability of each logit by itself."""
    # The half tangent is the same function and cannot overflow.
    half: Logits = np.multiply(np.tanh(logits / 2) + 1, 0.5, dtype=np.float32)
    return half


def _identity(logits: Logits) -> Logits:
    return logits


_ACTIVATIONS: Mapping[str, Activation] = {
    "single_label_classification": probabilities,
    "multi_label_classification": sigmoid,
    "regression": _identity,
}

_TORCH_ACTIVATIONS: Mapping[str, Activation] = {
    "torch.nn.modules.linear.Identity": _identity,
    "torch.nn.modules.activation.Sigmoid": probabilities,
    "torch.nn.modules.activation.Softmax": probabilities,
}
"""What cross-encoders of sentence-transformers name in their ``config.json``; only names are read, never code."""
