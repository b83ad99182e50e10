"""What the supervisor is to start follows from the configuration."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.errors import EngineError, GpuError
from engines.launchers import LAUNCHERS
from engines.onnx.command_line import add_options, options_in
from engines.onnx.options import Golden, OnnxOptions, options_of
from engines.spec import FolderSource, HubSource, PackageFile, PackageSource, RayDemand, SleepMode, TraceExport
from gateway.config.schema import Config
from gateway.config.source import PackageTable
from gateway.fleet.engine_specs import cache_of, source_of, specs_of
from tests.engines.tiny_adapter import write_adapter
from tests.kit.gateways import remote

DIGEST = "0" * 64
ONNX = {"engine": "onnx", "source": "./m", "tasks": ["embed"]}
VLLM = {"engine": "vllm", "source": "a/b"}
NOBODY = remote("http://127.0.0.1:1")


def configured(models: Mapping[str, Any], **settings: Any) -> Config:
    return Config.model_validate({"gateway": settings, "models": models})


@pytest.mark.parametrize("source", ["/models/a", "./a", "../a", ".a"])
def test_what_looks_like_a_path_is_a_folder(source: str) -> None:
    found = source_of(source)
    assert isinstance(found, FolderSource)
    assert found.path.is_absolute()


def test_any_other_text_is_an_id() -> None:
    assert source_of("org/name") == HubSource("org/name")


def test_a_table_is_a_package() -> None:
    table = PackageTable.model_validate({"package": "p==1", "files": {"f": {"path": "p/f", "sha256": DIGEST}}})
    assert source_of(table) == PackageSource("p==1", (PackageFile("f", "p/f", DIGEST),))


def test_vllm_gets_a_gpu_for_each_replica_where_there_are_any() -> None:
    onnx = {"engine": "onnx", "source": "/b", "tasks": ["embed"]}
    specs = specs_of(configured({"a": VLLM | {"gpus": 2, "replicas": 2}, "b": onnx, "c": VLLM, "d": NOBODY}), 5)
    assert {spec.model: (spec.replicas, spec.gpus) for spec in specs} == {"a": (2, 2), "b": (1, 0), "c": (1, 1)}


def test_too_few_gpus_are_told() -> None:
    with pytest.raises(GpuError, match=r"ask for 2 GPUs \(a: 1 x 1, b: 1 x 1\), but 1 can be used"):
        specs_of(configured({"a": VLLM | {"gpus": 1}, "b": VLLM | {"gpus": 1}}), 1)


def test_without_gpus_vllm_gets_none() -> None:
    (spec,) = specs_of(configured({"a": VLLM | {"args": {"dtype": "float32"}, "env": {"A": "b"}}}), 0)
    assert (spec.gpus, spec.args, spec.env, spec.tasks) == (0, {"dtype": "float32"}, {"A": "b"}, ("generate",))


def test_the_cache_is_where_the_configuration_says(tmp_path: Path) -> None:
    assert cache_of(configured({"m": NOBODY}, cache=tmp_path)) == tmp_path
    assert cache_of(configured({"m": NOBODY})).name == "headgate"


def test_an_onnx_model_has_its_options_as_one_value() -> None:
    golden = {"text": "a", "answer": [1, 0.5]}
    (spec,) = specs_of(configured({"m": ONNX | {"labels": ["x", "y"], "golden": golden, "variant": "int8"}}), 0)
    assert spec.onnx == OnnxOptions(labels=("x", "y"), golden=Golden("a", [1.0, 0.5]), variant="int8")


def test_each_declared_option_of_an_onnx_model_reaches_its_server() -> None:
    """What is declared in ``OnnxOptions`` needs no other place between models.toml and the process that obeys it."""
    declared = {option.name: option for option in options_of(OnnxOptions)}
    given = {
        name: option.meta.examples[0] if option.meta.examples else option.default / 2
        for name, option in declared.items()
    } | {"moderation": {"hate": ["benign"]}}
    (spec,) = specs_of(configured({"m": ONNX | {"tasks": ["classify"]} | given}), 0)
    launch = LAUNCHERS["onnx"].launch(spec, Path("/m"), (), Path("/s"))
    parser = argparse.ArgumentParser()
    add_options(parser)
    parsed, _ = parser.parse_known_args(launch.command)
    not_told = {name for name, option in declared.items() if option.extra.get("flag", name) is None}
    assert not_told == {"variant"}
    assert options_in(parsed) == msgspec.structs.replace(spec.onnx, variant=None)
    assert msgspec.to_builtins(spec.onnx) == msgspec.to_builtins(msgspec.convert(given, OnnxOptions))
    assert all(getattr(spec.onnx, name) != option.default for name, option in declared.items())


def test_a_scaled_model_begins_with_as_few_replicas_as_it_may_have() -> None:
    config = configured({"m": VLLM | {"scaling": {"min": 0, "max": 3, "target": 4.0}}, "n": VLLM, "r": NOBODY})
    assert [spec.replicas for spec in specs_of(config, 0)] == [0, 1]


def test_replicas_that_are_to_sleep_need_gpus() -> None:
    config = configured({"m": VLLM | {"scaling": {"min": 0, "max": 3, "sleep_level": 2}}, "n": VLLM})
    assert [spec.sleep for spec in specs_of(config, 2)] == [SleepMode(2, most=3), None]
    refused = r"^models\.m\.scaling\.sleep_level: vLLM sleeps on GPUs only, and none can be used here; leave it out"
    with pytest.raises(EngineError, match=refused):
        specs_of(config, 0)


def test_engines_on_the_cpu_have_a_limit() -> None:
    config = configured({"m": VLLM | {"replicas": 2}, "n": ONNX}, cpu_engines=2)
    with pytest.raises(EngineError, match=r"ask for 3 engines without a GPU, but gateway.cpu_engines allows 2"):
        specs_of(config, 0)
    assert len(specs_of(config, 2)) == 2


def test_engines_send_their_spans_where_the_gateway_sends_its_own() -> None:
    (untraced,) = specs_of(configured({"a": VLLM}), 0)
    assert untraced.traces is None
    tracing = {"endpoint": "http://127.0.0.1:4318", "headers": {"x-key": "k"}}
    (traced,) = specs_of(configured({"a": VLLM}, tracing=tracing), 0)
    assert traced.traces == TraceExport("http://127.0.0.1:4318/v1/traces", {"x-key": "k"})


def test_an_engine_is_made_ready_for_the_adapters_of_its_model(tmp_path: Path) -> None:
    high = str(write_adapter(tmp_path / "high", rank=40))

    def rank(**options: Any) -> int:
        (spec,) = specs_of(configured({"m": VLLM | options}), 0)
        return spec.lora_rank

    assert rank() == 0
    assert rank(adapters={}) == rank(adapters={"a": str(tmp_path / "nowhere")}) == 16
    assert rank(adapters={"a": high}) == 64
    assert rank(adapters={"a": high}, args={"max_lora_rank": 128}) == 128


def test_replicas_on_a_cluster_need_no_gpus_and_no_room_here() -> None:
    vllm = {"engine": "vllm", "source": "a/b", "placement": "ray", "replicas": 3, "gpus": 2}
    onnx = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "placement": "ray", "ray": {"num_cpus": 2}}
    gateway = {"cpu_engines": 1, "ray": {"address": "http://h:8265"}}
    config = Config.model_validate({"gateway": gateway, "models": {"a": vllm, "b": onnx | {"replicas": 9}}})
    first, second = specs_of(config, gpus=0)
    assert (first.ray, first.gpus, second.gpus) == (RayDemand(), 2, 0)
    assert second.ray == RayDemand(cpus=2.0)
