"""Turns a GGUF file into what vLLM reads: safetensors, configuration, tokenizer and chat template.

``python -m engines.files.gguf FOLDER OUT`` is a process of its own, because it loads torch and transformers and a whole
model.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path


def convert(folder: Path, out: Path) -> None:
    """Convert the one ``*.gguf`` file in ``folder`` into ``out``, dequantised to bfloat16."""
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        raise SystemExit(f"{folder} has {len(files)} .gguf files; expected one")
    name = files[0].name
    os.environ["HF_HUB_OFFLINE"] = "1"  # All that is needed is in the folder.
    torch, transformers = import_module("torch"), import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m engines.files.gguf FOLDER OUT")
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
