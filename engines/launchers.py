"""The kinds of engines that can be started here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from engines.base import Launcher
from engines.onnxruntime import OnnxRuntime
from engines.vllm import Vllm

LAUNCHERS: Mapping[str, Launcher] = MappingProxyType({"vllm": Vllm(), "onnx": OnnxRuntime()})
"""By the name that a configuration calls them."""
