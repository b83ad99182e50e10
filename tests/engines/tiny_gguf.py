"""A real GGUF file of a few kilobytes: a llama of one layer whose weights are whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

VOCABULARY = ("<unk>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "ab", "Ġ")
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
WIDTH, HEADS, NORMAL, CONTROL = 32, 2, 1, 3


def weights(rows: int, *, shift: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return a matrix of whole numbers that are exact in every format."""
    return (np.arange(rows * WIDTH).reshape(rows, WIDTH) % 7 - 3 + shift).astype(np.float32)


def write_gguf(path: Path, *, shift: int = 0) -> None:
    """Write a model; ``shift`` is added to its embeddings. Skips the test where the package ``gguf`` is absent."""
    gguf = pytest.importorskip("gguf", reason="the engines are not installed here")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(list(VOCABULARY))
    writer.add_token_types([CONTROL] * 3 + [NORMAL] * (len(VOCABULARY) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", weights(len(VOCABULARY), shift=shift))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", weights(WIDTH))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
