"""The kinds of engines that can be started here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from engines.launchers.onnx import OnnxRuntime
from engines.launchers.vllm import Vllm
from engines.spec import Launcher

LAUNCHERS: Mapping[str, Launcher] = MappingProxyType({"vllm": Vllm(), "onnx": OnnxRuntime()})
"""By the name that a configuration calls them."""
