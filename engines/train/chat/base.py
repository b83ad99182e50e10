"""The chat model that an adapter is made for: its weights in safetensors or GGUF, its tokenizer and its template."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from engines.train.errors import JobError
from engines.train.loop import computes_in_bfloat16

RANK = 8
_ALPHA = 16


class ChatBase:
    """A causal language model with its tokenizer, frozen but for the adapter that ``adapt`` adds."""

    def __init__(self, weights: Path) -> None:
        """Load a Hugging Face folder or one GGUF file. Raises ``JobError`` where it cannot be trained."""
        os.environ["HF_HUB_OFFLINE"] = "1"  # All that is needed is there.
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        _check(weights)
        dtype = torch.bfloat16 if computes_in_bfloat16() else torch.float32
        try:
            if weights.is_file():
                place: dict[str, Any] = {"gguf_file": weights.name}
                self.tokenizer: Any = AutoTokenizer.from_pretrained(weights.parent, **place)
                place["quantization_config"] = GgufConfig(dequantize=True)
                self.model: Any = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=dtype, **place)
            else:
                self.tokenizer = AutoTokenizer.from_pretrained(weights)
                self.model = AutoModelForCausalLM.from_pretrained(weights, use_safetensors=True, dtype=dtype)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise _unfit(f"{weights} cannot be loaded: {error}") from error
        if self.tokenizer.chat_template is None:
            raise _unfit(f"the tokenizer of {weights} has no chat template")
        self.weights = weights

    @property
    def longest(self) -> int | None:
        """How many tokens the model was made for, where its configuration says it."""
        longest: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return longest

    def adapt(self, name: str) -> Any:
        """Add LoRA's matrices to all linear layers but the last, and give the model with the adapter.

        ``name`` is what the adapter's configuration calls its base.
        """
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=RANK, lora_alpha=_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
        adapted = get_peft_model(self.model, config)
        adapted.peft_config["default"].base_model_name_or_path = name
        return adapted


def _check(weights: Path) -> None:
    if weights.is_file() and weights.suffix == ".gguf":
        return
    if not weights.is_dir():
        raise _unfit(f"{weights} is neither a folder nor a .gguf file")
    if not any(weights.glob("*.safetensors")):
        raise _unfit(f"{weights} has no weights in safetensors; a pickle may run code when it is read, and is refused")


def _unfit(why: str) -> JobError:
    return JobError("invalid_model", f"The base model cannot be trained: {why}.", "model")
