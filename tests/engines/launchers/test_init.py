"""Every kind of engine that can be started here has its launcher, by the name that configurations use."""

from __future__ import annotations

import pytest

from engines.launchers import LAUNCHERS
from engines.launchers.onnx import OnnxRuntime
from engines.launchers.vllm import Vllm


def test_each_kind_has_its_launcher() -> None:
    assert {name: type(launcher) for name, launcher in LAUNCHERS.items()} == {"vllm": Vllm, "onnx": OnnxRuntime}


def test_the_table_does_not_change() -> None:
    with pytest.raises(TypeError):
        LAUNCHERS["vllm"] = OnnxRuntime()  # type: ignore[index]
