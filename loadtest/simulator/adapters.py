"""LoRA adapters of the simulated engine: loaded, unloaded and listed as vLLM does, without any weights."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadtest.simulator.engine_response import UnaryResponse
from loadtest.simulator.errors import UNREADABLE, EngineError

LOADS = "/v1/load_lora_adapter"
UNLOADS = "/v1/unload_lora_adapter"


class _Order(msgspec.Struct):
    lora_name: str
    lora_path: str = ""


class _Named(msgspec.Struct):
    model: str | None = None


class LoraAdapters:
    """The adapters that the engine has: the folder of each, by name."""

    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<LoraAdapters {sorted(self.loaded)}>"

    def answer(self, path: str, body: bytes) -> UnaryResponse:
        """Load or unload an adapter."""
        try:
            order = msgspec.json.decode(body, type=_Order)
            said = self._load(order) if path == LOADS else self._unload(order)
        except UNREADABLE as error:
            return UnaryResponse(EngineError(str(error), 400).encode(), status=400)
        except EngineError as error:
            return UnaryResponse(error.encode(), status=error.status)
        return UnaryResponse(said.encode(), content_type=b"text/plain; charset=utf-8")

    def named_in(self, body: bytes, base: str) -> str:
        """Give the adapter that a request asks for, ``base`` if it asks for none that is loaded."""
        try:
            name = msgspec.json.decode(body, type=_Named).model
        except UNREADABLE:
            return base
        return name if name in self.loaded and name is not None else base

    def _load(self, order: _Order) -> str:
        name, folder = order.lora_name, order.lora_path
        if name in self.loaded:
            raise EngineError(f"The lora adapter '{name}' has already been loaded.", 400)
        if not Path(folder).is_dir():
            raise EngineError(f"Loading lora {name} failed: No adapter found for {folder}", 404)
        self.loaded[name] = folder
        return f"Success: LoRA adapter '{name}' added successfully."

    def _unload(self, order: _Order) -> str:
        if self.loaded.pop(order.lora_name, None) is None:
            raise EngineError(f"The lora adapter '{order.lora_name}' cannot be found.", 404)
        return f"Success: LoRA adapter '{order.lora_name}' removed successfully."
