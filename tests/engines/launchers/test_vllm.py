"""vLLM is started as its own server, on files that it reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from engines.errors import SourceError
from engines.launchers.vllm import Vllm
from engines.launchers.vllm_key import KEY_VARIABLE, RequireKey
from engines.spec import EngineSpec, FolderSource, HubSource, Port, SleepMode, TraceExport
from tests.engines.tiny_gguf import write_gguf

FOLDER, SOCKET = Path("/models/chat"), Path("/run/chat-0.sock")
WORDS = "-m vllm.entrypoints.openai.api_server --model /models/chat --served-model-name chat --uds /run/chat-0.sock"
COMMAND = (sys.executable, *WORDS.split(), "--disable-uvicorn-access-log")


def spec(**changes: object) -> EngineSpec:
    known: dict[str, object] = {"model": "chat", "engine": "vllm", "source": FolderSource(FOLDER)}
    return EngineSpec(**known | changes)  # type: ignore[arg-type]


def command_of(spec: EngineSpec, devices: Sequence[str] = ()) -> tuple[str, ...]:
    return Vllm().launch(spec, FOLDER, devices, SOCKET).command


def environment_of(spec: EngineSpec, devices: Sequence[str] = ()) -> dict[str, str]:
    return dict(Vllm().launch(spec, FOLDER, devices, SOCKET).environment)


def test_the_command_names_the_files_the_model_and_the_socket() -> None:
    launch = Vllm().launch(spec(), FOLDER, (), SOCKET)
    assert launch.command == COMMAND
    assert launch.ready_path == "/health"


def test_at_a_port_it_answers_only_who_knows_the_key_which_is_on_no_command_line() -> None:
    launch = Vllm().launch(spec(env={KEY_VARIABLE: "guessed"}), FOLDER, (), Port(20_001, "s3cret"))
    where = "--host 0.0.0.0 --port 20001 --middleware engines.launchers.vllm_key.RequireKey"
    assert where in " ".join(launch.command)
    assert f"{RequireKey.__module__}.{RequireKey.__name__}" in launch.command
    assert "--uds" not in launch.command
    assert "s3cret" not in " ".join(launch.command)
    assert launch.environment[KEY_VARIABLE] == "s3cret"


def test_options_follow() -> None:
    args = {"enforce-eager": True, "max-model-len": 2048}
    assert command_of(spec(args=args)) == (*COMMAND, "--enforce-eager", "--max-model-len", "2048")


def test_where_it_is_to_sleep_it_is_told_so_and_opens_the_endpoints_for_it() -> None:
    sleeps = spec(sleep=SleepMode(1, most=2))
    assert command_of(sleeps) == (*COMMAND, "--enable-sleep-mode")
    assert environment_of(sleeps).items() - environment_of(spec()).items() == {("VLLM_SERVER_DEV_MODE", "1")}
    told = spec(sleep=SleepMode(1, most=2), args={"enable_sleep_mode": True})
    assert command_of(told) == (*COMMAND, "--enable-sleep-mode")


def test_its_spans_go_where_the_gateways_go_over_http() -> None:
    traces = TraceExport("http://127.0.0.1:4318/v1/traces", {"authorization": "Basic a=", "x-team": "b"})
    traced = spec(traces=traces)
    assert command_of(traced) == (*COMMAND, "--otlp-traces-endpoint", "http://127.0.0.1:4318/v1/traces")
    assert environment_of(traced).items() - environment_of(spec()).items() == {
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20a%3D,x-team=b"),
        ("OTEL_SERVICE_NAME", "vllm"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
    }


def test_a_receiver_in_its_own_options_is_left_alone() -> None:
    own = spec(args={"otlp_traces_endpoint": "http://a:4317"}, traces=TraceExport("http://b:4318/v1/traces", {}))
    assert command_of(own) == (*COMMAND, "--otlp-traces-endpoint", "http://a:4317")
    assert environment_of(own) == environment_of(spec())


def test_without_gpus_it_sees_none_and_takes_a_fixed_share_of_memory() -> None:
    assert environment_of(spec()) == {
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }


def test_each_replica_sees_its_own_gpus_and_no_others() -> None:
    environment = environment_of(spec(), ("2", "3"))
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment


def test_several_gpus_are_all_used() -> None:
    assert command_of(spec(), ("0", "1")) == (*COMMAND, "--tensor-parallel-size", "2")
    assert command_of(spec(), ("0",)) == COMMAND


@pytest.mark.parametrize("name", ["tensor-parallel-size", "pipeline_parallel_size", "data-parallel-size"])
def test_the_operator_may_divide_a_model_otherwise(name: str) -> None:
    words = command_of(spec(args={name: 2}), ("0", "1"))
    assert words == (*COMMAND, f"--{name.replace('_', '-')}", "2")


def test_the_operators_environment_wins() -> None:
    environment = environment_of(spec(env={"VLLM_CPU_KVCACHE_SPACE": "8", "VLLM_LOGGING_LEVEL": "DEBUG"}))
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "8"
    assert environment["VLLM_LOGGING_LEVEL"] == "DEBUG"


def test_only_a_hubs_repository_may_be_asked_for_at_a_hub(tmp_path: Path) -> None:
    hub = spec(source=HubSource("org/model"))
    folder = Vllm().prepare(hub, tmp_path / "cache", print)
    assert "org/model" in Vllm().launch(hub, folder, (), SOCKET).command
    assert "HF_HUB_OFFLINE" not in environment_of(hub)


@pytest.mark.parametrize("names", [("config.json", "model.safetensors"), ("config.json", "model.gguf"), ("params",)])
def test_what_it_reads_is_used_where_it_is(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert Vllm().prepare(spec(source=FolderSource(tmp_path)), tmp_path / "cache", print) == tmp_path


@pytest.mark.slow
def test_a_conversion_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    folder, cache = tmp_path / "in", tmp_path / "cache"
    folder.mkdir()
    for name in ("a.gguf", "b.gguf"):
        (folder / name).touch()
    with pytest.raises(SourceError) as caught:
        Vllm().prepare(spec(source=FolderSource(folder)), cache, print)
    reason = f"{folder} has 2 .gguf files; expected one"
    assert str(caught.value) == f"The GGUF file in {folder} could not be converted: {reason}"
    assert [path.suffix for path in (cache / "converted").iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_gguf_file_is_converted_once_and_again_when_it_is_another(tmp_path: Path) -> None:
    here, elsewhere, cache = tmp_path / "a" / "model", tmp_path / "b" / "model", tmp_path / "cache"
    for folder, shift in ((here, 0), (elsewhere, 1)):
        folder.mkdir(parents=True)
        write_gguf(folder / "model.gguf", shift=shift)
    said: list[str] = []

    def prepare(folder: Path) -> Path:
        return Vllm().prepare(spec(source=FolderSource(folder)), cache, said.append)

    one, again, other = prepare(here), prepare(here), prepare(elsewhere)
    assert one == again != other
    assert said == ["converting GGUF to safetensors"] * 2
    assert (one / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_adapters_may_be_loaded_later_where_the_model_has_some() -> None:
    words = "--enable-lora --max-lora-rank 32 --max-loras 4 --max-cpu-loras 64"
    assert command_of(spec(lora_rank=32)) == (*COMMAND, *words.split())
    assert environment_of(spec(lora_rank=32))["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in environment_of(spec())


def test_the_operators_own_options_for_adapters_win() -> None:
    args = {"enable-lora": True, "max_lora_rank": 64, "max-loras": 2}
    words = "--enable-lora --max-lora-rank 64 --max-loras 2"
    assert command_of(spec(lora_rank=64, args=args)) == (*COMMAND, *words.split())
