"""The simulated engine takes LoRA adapters as vLLM does."""

from __future__ import annotations

import json
from pathlib import Path

from loadtest.simulator.adapters import LOADS, UNLOADS, LoraAdapters


def test_an_adapter_is_loaded_named_and_unloaded(tmp_path: Path) -> None:
    adapters = LoraAdapters()
    order = json.dumps({"lora_name": "sql", "lora_path": str(tmp_path)}).encode()
    assert adapters.answer(LOADS, order).body == b"Success: LoRA adapter 'sql' added successfully."
    assert adapters.loaded == {"sql": str(tmp_path)}
    assert adapters.named_in(b'{"model": "sql"}', "base") == "sql"
    assert adapters.named_in(b'{"model": "other"}', "base") == adapters.named_in(b"no JSON", "base") == "base"
    assert adapters.answer(UNLOADS, order).body == b"Success: LoRA adapter 'sql' removed successfully."
    assert repr(adapters) == "<LoraAdapters []>"


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    adapters = LoraAdapters()
    order = json.dumps({"lora_name": "sql", "lora_path": str(tmp_path)}).encode()
    nowhere = json.dumps({"lora_name": "sql", "lora_path": "/nowhere"}).encode()
    assert adapters.answer(UNLOADS, order).status == 404
    assert adapters.answer(LOADS, nowhere).status == 404
    assert adapters.answer(LOADS, b"{").status == adapters.answer(LOADS, b'"\xff"').status == 400
    adapters.answer(LOADS, order)
    assert adapters.answer(LOADS, order).status == 400
