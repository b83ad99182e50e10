"""A chat model comes from a folder of safetensors or from one GGUF file, and all its linear layers are adapted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.tiny_gguf import write_gguf
from tests.engines.train.tiny_models import needed, write_chat_model

torch = needed()

from engines.train.chat.base import ChatBase  # noqa: E402
from engines.train.errors import JobError  # noqa: E402

pytestmark = pytest.mark.slow


def test_all_linear_layers_but_the_last_are_adapted(tmp_path: Path) -> None:
    adapted = ChatBase(write_chat_model(tmp_path)).adapt("tiny")
    names = {name.split(".lora_")[0].split(".")[-1] for name, each in adapted.named_parameters() if each.requires_grad}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert adapted.peft_config["default"].base_model_name_or_path == "tiny"


def test_a_gguf_file_is_loaded(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf")
    base = ChatBase(tmp_path / "model.gguf")
    assert base.longest == 64
    assert base.tokenizer.chat_template


def test_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(JobError, match="no weights in safetensors; a pickle may run code"):
        ChatBase(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    with pytest.raises(JobError, match=r"model\.pt is neither a folder nor a \.gguf file"):
        ChatBase(tmp_path / "model.pt")


def test_a_model_without_a_template_is_refused(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(JobError, match="has no chat template"):
        ChatBase(folder)
