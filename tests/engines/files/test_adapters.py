"""An adapter is read from the headers of its files, and what does not fit its base is told before an engine sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import ContentError, SourceError
from engines.files.adapters import Adapter, check_fit, rank_for, read_adapter
from tests.engines.tiny_adapter import Q_PROJ, write_adapter, write_base, write_tensors

V_PROJ = "model.layers.0.self_attn.v_proj"


def test_an_adapter_is_its_highest_rank_and_the_sizes_of_its_modules(tmp_path: Path) -> None:
    write_adapter(tmp_path, rank=2, modules={Q_PROJ: (8, 4), V_PROJ: (2, 4)}, rank_pattern={"v_proj": 6})
    assert read_adapter(tmp_path) == Adapter(6, {Q_PROJ: (8, 4), V_PROJ: (2, 4)})


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ContentError) as caught:
        read_adapter(tmp_path)
    assert str(caught.value) == (
        f"The adapter in {tmp_path} has no adapter_model.safetensors. adapter_model.bin is a pickle, which can run "
        "code and is refused; save it again."
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not an object of JSON"),
        ('{"peft_type": "IA3", "r": 8}', "describes an adapter of the type 'IA3'; expected LORA"),
        ('{"peft_type": "LORA"}', "has no valid rank"),
        ('{"r": 8, "rank_pattern": {"q_proj": "8"}}', "has no valid rank"),
    ],
)
def test_a_configuration_that_is_wrong_is_told(config: str, reason: str, tmp_path: Path) -> None:
    (write_adapter(tmp_path) / "adapter_config.json").write_text(config)
    with pytest.raises(ContentError) as caught:
        read_adapter(tmp_path)
    assert f"adapter_config.json {reason}" in str(caught.value)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere does not exist"):
        read_adapter(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"adapter_config\.json cannot be read: No such file"):
        read_adapter(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x04\0\0\0\0\0\0\0nope", b"\x40\0\0\0\0\0\0\0{"])
def test_weights_that_were_cut_are_told(content: bytes, tmp_path: Path) -> None:
    (write_adapter(tmp_path) / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(ContentError, match="is not a file of safetensors, or it was cut"):
        read_adapter(tmp_path)


def test_factors_that_are_no_pair_are_told(tmp_path: Path) -> None:
    file = write_adapter(tmp_path) / "adapter_model.safetensors"
    write_tensors(file, {f"{Q_PROJ}.lora_A.weight": (2, 4), f"{Q_PROJ}.lora_B.weight": (8, 3)})
    with pytest.raises(ContentError, match=r"no pair of factors for model.layers.0.self_attn.q_proj"):
        read_adapter(tmp_path)
    write_tensors(file, {"head.weight": (2, 4)})
    with pytest.raises(ContentError, match="has no LoRA factors"):
        read_adapter(tmp_path)


def test_what_fits_its_base_passes_also_the_other_way_round(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "adapter"))
    check_fit(adapter, write_base(tmp_path / "base"))
    check_fit(adapter, write_base(tmp_path / "transposed", {Q_PROJ: (4, 8)}))


def test_another_size_than_the_bases_is_told(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", {Q_PROJ: (16, 4)})
    with pytest.raises(ContentError) as caught:
        check_fit(read_adapter(write_adapter(tmp_path / "adapter")), base)
    assert str(caught.value) == f"The adapter does not fit its base: it is made for a {Q_PROJ} of 8x4, not 16x4."


def test_modules_that_the_base_does_not_have_are_told(tmp_path: Path) -> None:
    modules = {Q_PROJ: (8, 4)} | {f"model.layers.{number}.self_attn.q_proj": (8, 4) for number in range(1, 6)}
    adapter = read_adapter(write_adapter(tmp_path / "adapter", modules=modules))
    with pytest.raises(ContentError, match=r"which has no model\.layers\.1\..*, .*layers\.3\.[a-z_.]* and 2 more\."):
        check_fit(adapter, write_base(tmp_path / "base"))


def test_a_base_whose_weights_have_other_names_is_left_to_the_engine(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "adapter"))
    check_fit(adapter, write_base(tmp_path / "base", {"language_model.q_proj": (1, 1)}))
    check_fit(adapter, tmp_path)


def test_an_engine_is_made_ready_for_the_highest_rank_in_the_steps_that_vllm_takes(tmp_path: Path) -> None:
    low, high = write_adapter(tmp_path / "low", rank=8), write_adapter(tmp_path / "high", rank=17)
    assert rank_for([]) == rank_for([low]) == 16
    assert rank_for([low, tmp_path / "nowhere", high]) == 32
