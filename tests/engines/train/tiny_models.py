"""An encoder and a chat model of a few thousand random weights, and jobs for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

WORDS = ("good", "fine", "great", "bad", "awful", "poor", "the", "film", "was", "actor", "plot", "and")
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<|im_start|>", "<|im_end|>", "user", "assistant", "\n")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def needed() -> Any:
    """Give torch. Skips the test where the engines are not installed."""
    pytest.importorskip("transformers", reason="the engines are not installed here")
    return pytest.importorskip("torch", reason="the engines are not installed here")


def tokenizer() -> Tokenizer:
    """Make a tokenizer of whole words."""
    vocabulary = {word: number for number, word in enumerate((*SPECIALS, *WORDS))}
    made = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = Split(" ", "removed")
    made.add_special_tokens(["<|im_start|>", "<|im_end|>", "\n"])
    return made


def write_encoder(folder: Path, **config: Any) -> Path:
    """Write a BERT of two layers; always the same weights."""
    torch = needed()
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    size = len(SPECIALS) + len(WORDS)
    BertModel(BertConfig(vocab_size=size, max_position_embeddings=40, **sizes | config)).save_pretrained(folder)
    made = tokenizer()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 40}')
    return folder


def write_chat_model(folder: Path) -> Path:
    """Write a Llama of one layer; always the same weights."""
    torch = needed()
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(1)
    size = len(SPECIALS) + len(WORDS)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,  # with less, a head that stays as it is can prefer nothing
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token="<|im_end|>", pad_token="[PAD]")
    saved.chat_template = TEMPLATE
    saved.save_pretrained(folder)
    return folder


def reviews(count: int) -> list[dict[str, Any]]:
    """Make texts whose label depends on one of their words."""
    good, bad = WORDS[:3], WORDS[3:6]
    rest = WORDS[6:]
    lines = []
    for n in range(count):
        word = (good if n % 2 else bad)[n // 2 % 3]
        others = [rest[(n * 7 + 3 * at) % len(rest)] for at in range(1 + n % 5)]
        lines.append({"text": " ".join([*others, word, *others[: n % 3]]), "label": "good" if n % 2 else "bad"})
    return lines


def write_job(folder: Path, weights: Path, lines: Sequence[Any], **fields: Any) -> Path:
    """Write a job's folder, with its training file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    training = folder.with_name(f"{folder.name}.jsonl")
    training.write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = {
        "id": "ftjob-1",
        "name": "ft:tiny:me::1",
        "kind": "classifier",
        "base": {"name": "tiny", "weights": str(weights)},
        "method": "auto",
        "training_file": str(training),
        "validation_file": None,
        "hyperparameters": {"n_epochs": 2},
        "seed": 3,
        "time_budget": 600.0,
        "threads": 1,
        "augment": False,
        "quantize": False,
        "prune": None,
        "distill": None,
    }
    (folder / "job.json").write_text(json.dumps(job | fields))
    return folder


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Read a job's events of one type."""
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in found if event["type"] == kind]
