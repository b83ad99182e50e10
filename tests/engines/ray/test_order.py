"""What the gateway orders is what the node runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engines.errors import ContentError
from engines.onnx.options import Golden, OnnxOptions
from engines.ray.order import VARIABLE, Order, version
from engines.spec import EngineSpec, FolderSource, HubSource, PackageFile, PackageSource, Port, TraceExport

PACKAGE = PackageSource("guard==1.0", (PackageFile("model.onnx", "guard/model.onnx", "ab" * 32),))
ONNX = OnnxOptions(labels=("good", "bad"), golden=Golden("Hello", [0.5, 0.5]))
SPECS = [
    EngineSpec("chat", "vllm", FolderSource(Path("/models/chat")), gpus=2, args={"enforce-eager": True, "x": [""]}),
    EngineSpec("chat", "vllm", HubSource("org/name"), env={"HOME": "$HOME/${X}"}, lora_rank=16),
    EngineSpec("guard", "onnx", PACKAGE, tasks=("classify",), onnx=ONNX),
    EngineSpec("chat", "vllm", HubSource("org/name"), traces=TraceExport("http://a/v1/traces", {"x-team": "b"})),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_node_reads_what_was_written(spec: EngineSpec) -> None:
    written = msgspec.structs.replace(Order.of(spec), port=20_001, key="s3cret").written()
    # Ray would put the values of variables in the place of their names.
    assert "$" not in written
    order = Order.read({VARIABLE: written})
    assert order.spec == spec
    assert order.spec.lora_rank == spec.lora_rank
    assert order.listen == Port(20_001, "s3cret")


@pytest.mark.parametrize("written", ["", "?", "e30=", "bm90IEpTT04="])
def test_an_order_of_another_version_says_what_to_install(written: str) -> None:
    with pytest.raises(
        ContentError, match=f"not understood by headgate {version()} on this node.*that the gateway has"
    ):
        Order.read({VARIABLE: written})


def test_without_an_order_it_says_who_gives_one() -> None:
    with pytest.raises(ContentError, match="HEADGATE_REPLICA is not set: this is run by a gateway"):
        Order.read({})
