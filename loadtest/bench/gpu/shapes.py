"""Models without weights, for ``vllm --load-format dummy``: a configuration of Llama's kind, and a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import msgspec

from loadtest.workload import WORDS

Argument = str | int | bool
"""A value of one of vLLM's options; ``True`` is a flag."""

_NUMBERS = {"max-model-len", "max-num-seqs", "max-num-batched-tokens"}
"""The options that are read here, too."""

_UNKNOWN = "<unk>"

_CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
"""A chat costs no more tokens than its text has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a model, by the names that they have in the ``config.json`` of a Llama, and how vLLM serves it."""

    name: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    rope_theta: float
    needs_gpu: bool
    args: Mapping[str, Argument]
    """Options of vLLM. Its own defaults for those that are given here depend on the GPU."""
    prompts: tuple[int, ...]
    """Lengths of the prompts from which a profile of the simulator is fitted, in tokens."""
    waves: tuple[tuple[int, int], ...]
    """From how many requests at once it is fitted, and how long the prompts of those are."""

    @property
    def max_model_len(self) -> int:
        """Tokens that a prompt and its response may have together."""
        return int(self.args["max-model-len"])

    @property
    def max_num_seqs(self) -> int:
        """Sequences that run at the same time."""
        return int(self.args["max-num-seqs"])

    @property
    def max_num_batched_tokens(self) -> int:
        """Tokens of one step of the engine."""
        return int(self.args["max-num-batched-tokens"])

    def with_args(self, args: Mapping[str, Argument]) -> Shape:
        """Return the same model served with more options, or other values. Raises ``ValueError``."""
        for name in _NUMBERS & args.keys():
            if not str(args[name]).isdecimal():
                raise ValueError(f"--engine-arg {name}={args[name]}: expected a whole number")
        return replace(self, args={**self.args, **args})

    def write(self, folder: Path) -> None:
        """Write the files that vLLM reads of a model, except its weights."""
        for name, content in (
            ("config.json", self._config()),
            ("tokenizer.json", self._tokenizer()),
            ("tokenizer_config.json", _tokenizer_config(self.max_model_len)),
        ):
            (folder / name).write_bytes(msgspec.json.encode(content))

    def _config(self) -> dict[str, Any]:
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.hidden_size // self.num_attention_heads,
            "vocab_size": self.vocab_size,
            "tie_word_embeddings": self.tie_word_embeddings,
            "rope_theta": self.rope_theta,
            "max_position_embeddings": self.max_model_len,
            "rms_norm_eps": 1e-5,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "torch_dtype": "bfloat16",
            # No token ends a response, and none begins a prompt: both have the lengths that are asked for.
            "bos_token_id": None,
            "eos_token_id": None,
        }

    def _tokenizer(self) -> dict[str, Any]:
        """Describe a tokenizer, in the format of the library ``tokenizers``, that knows a word for every token."""
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": _vocabulary(self.vocab_size), "unk_token": _UNKNOWN},
        }


def _vocabulary(size: int) -> dict[str, int]:
    """Number the words of prompts, and as many others of four letters as there are more tokens.

    Each token has a text, because vLLM would send an event without content for one that has none.
    """
    letters = ("".join(each) for each in product(ascii_lowercase, repeat=4))
    known = {_UNKNOWN, *WORDS}
    words = chain(dict.fromkeys((_UNKNOWN, *WORDS)), (word for word in letters if word not in known))
    return {word: number for number, word in enumerate(islice(words, size))}


def _tokenizer_config(max_model_len: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": _UNKNOWN,
        "model_max_length": max_model_len,
        "chat_template": _CHAT_TEMPLATE,
    }


_ALWAYS: Mapping[str, Argument] = {
    "load-format": "dummy",
    "generation-config": "vllm",
    "no-enable-prefix-caching": True,
}
"""No prompt is found again: the same ones may be sent to both sides, in every round."""

SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        # The sizes of Llama 3.1 8B.
        Shape(
            name="8b",
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128_256,
            tie_word_embeddings=False,
            rope_theta=500_000.0,
            needs_gpu=True,
            args={**_ALWAYS, "max-model-len": 8192, "max-num-seqs": 512, "max-num-batched-tokens": 8192},
            prompts=(16, 64, 256, 1024, 2048, 4096, 8000),
            waves=(*((2**power, 32) for power in range(9)), (8, 512), (32, 512), (64, 512)),
        ),
        # The sizes of SmolLM2 135M, served as `models.toml` does.
        Shape(
            name="135m",
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            vocab_size=49_152,
            tie_word_embeddings=True,
            rope_theta=100_000.0,
            needs_gpu=False,
            args={
                **_ALWAYS,
                "max-model-len": 2048,
                "max-num-seqs": 64,
                "max-num-batched-tokens": 2048,
                "enforce-eager": True,
                "dtype": "float32",
            },
            prompts=(16, 64, 256, 512, 1024, 1900),
            waves=(*((2**power, 32) for power in range(6)), (4, 512), (8, 512)),
        ),
    )
}
"""Shapes by name."""
