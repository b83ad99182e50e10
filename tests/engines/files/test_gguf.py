"""A GGUF file becomes a folder that vLLM reads: the same weights, the same words, the same template."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines.files.gguf import convert
from tests.engines.tiny_gguf import TEMPLATE, VOCABULARY, WIDTH, weights, write_gguf


def tensor(path: Path, name: str) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Read a bfloat16 tensor out of a safetensors file: its type and its numbers."""
    content = path.read_bytes()
    (size,) = struct.unpack_from("<Q", content)
    entry = json.loads(content[8 : 8 + size])[name]
    start, end = (8 + size + offset for offset in entry["data_offsets"])
    upper_halves = np.frombuffer(content[start:end], np.uint16).astype(np.uint32)
    return entry["dtype"], (upper_halves << 16).view(np.float32).reshape(entry["shape"])


@pytest.mark.slow
def test_a_file_becomes_a_folder_with_the_same_model(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_gguf(folder / "tiny.gguf")
    done = subprocess.run(
        [sys.executable, "-m", "engines.files.gguf", folder, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["hidden_size"], config["vocab_size"]) == (WIDTH, len(VOCABULARY))
    dtype, embeddings = tensor(out / "model.safetensors", "model.embed_tokens.weight")
    assert dtype == "BF16"
    np.testing.assert_array_equal(embeddings, weights(len(VOCABULARY)))

    tokenizer = json.loads((out / "tokenizer.json").read_text())
    assert tokenizer["model"]["vocab"]["ab"] == VOCABULARY.index("ab")
    assert (out / "chat_template.jinja").read_text() == TEMPLATE


@pytest.mark.parametrize("names", [(), ("a.gguf", "b.gguf")])
def test_there_must_be_one_file(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=f"has {len(names)} .gguf files; expected one"):
        convert(tmp_path, tmp_path / "out")


@pytest.mark.slow
def test_without_two_folders_it_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-m", "engines.files.gguf"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "usage: python -m engines.files.gguf FOLDER OUT\n")
