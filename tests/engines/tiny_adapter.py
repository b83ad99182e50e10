"""LoRA adapters and models of a few weights, as files of safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Q_PROJ = "model.layers.0.self_attn.q_proj"


def write_tensors(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write tensors of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        size = 4
        for each in shape:
            size *= each
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))


def write_adapter(
    folder: Path, *, rank: int = 2, modules: Mapping[str, tuple[int, int]] | None = None, **config: Any
) -> Path:
    """Write an adapter for modules of these (output, input) sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, **config}))
    shapes: dict[str, tuple[int, ...]] = {}
    for module, (out, into) in ({Q_PROJ: (8, 4)} if modules is None else modules).items():
        shapes[f"base_model.model.{module}.lora_A.weight"] = (rank, into)
        shapes[f"base_model.model.{module}.lora_B.weight"] = (out, rank)
    write_tensors(folder / "adapter_model.safetensors", shapes)
    return folder


def write_base(folder: Path, modules: Mapping[str, tuple[int, int]] | None = None) -> Path:
    """Write a model with modules of these sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {Q_PROJ: (8, 4)} if modules is None else modules
    write_tensors(folder / "model.safetensors", {f"{module}.weight": size for module, size in sizes.items()})
    return folder
