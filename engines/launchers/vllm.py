"""vLLM: its OpenAI-compatible server, on a GPU or, with the CPU build, without one."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from engines.errors import SourceError
from engines.files.sources import fetch, made_once
from engines.launchers.vllm_key import KEY_VARIABLE, RequireKey
from engines.processes.shim_command import run
from engines.spec import (
    EngineSpec,
    HubSource,
    Launch,
    Listen,
    PackageSource,
    Port,
    Progress,
    Source,
    TraceExport,
    options,
)

_LORAS_IN_BATCH = 4
"""Adapters whose requests are computed together. vLLM's default is 1: requests of others wait for that one's to end."""

_LORAS_IN_MEMORY = 64
"""Adapters that stay in the memory of the machine; others are read from their files again when they are asked."""


class Vllm:
    """Starts ``python -m vllm.entrypoints.openai.api_server``; the ``vllm`` command does not work in the CPU build."""

    def prepare(self, spec: EngineSpec, cache: Path, progress: Progress) -> Path:
        """Fetch the files; vLLM does not read GGUF, so such a file is converted, once."""
        folder = fetch(spec.source, cache, progress)
        if (folder / "config.json").exists() or not list(folder.glob("*.gguf")):
            return folder

        def convert(target: Path) -> None:
            progress("converting GGUF to safetensors")
            done = run([sys.executable, "-m", "engines.files.gguf", str(folder), str(target)])
            if done.returncode != 0:
                last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
                raise SourceError(f"The GGUF file in {folder} could not be converted: {last}")

        return made_once(cache / "converted" / _identity(spec.source, folder), convert, progress)

    def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:
        """Serve the folder under the model's name."""
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(folder), "--served-model-name", spec.model, *_where(listen)]
        command += ["--disable-uvicorn-access-log"]
        environment = {"VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
        if not isinstance(spec.source, HubSource):
            environment["HF_HUB_OFFLINE"] = "1"
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        if not devices:
            # GiB for the paged KV cache; without it the CPU build takes a share of the whole machine's memory.
            environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
        elif len(devices) > 1 and not any(_says_how_to_divide(name) for name in spec.args):
            command += ["--tensor-parallel-size", str(len(devices))]
        if spec.traces is not None and not any(_names_a_receiver(name) for name in spec.args):
            command += ["--otlp-traces-endpoint", spec.traces.url]
            environment |= _traced(spec.traces)
        if spec.lora_rank:
            command += _lora_options(spec)
            environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        if spec.sleep is not None:
            if not any(_dashed(name) == "enable-sleep-mode" for name in spec.args):
                command.append("--enable-sleep-mode")
            # It opens /collective_rpc too, which is why only an engine at a Unix socket is told so.
            environment["VLLM_SERVER_DEV_MODE"] = "1"
        environment |= spec.env
        if isinstance(listen, Port):
            environment[KEY_VARIABLE] = listen.key
        return Launch((*command, *options(spec.args)), environment)


def _where(listen: Listen) -> list[str]:
    """Say where vLLM listens, and who is answered there: its own key guards the paths below /v1 alone."""
    if isinstance(listen, Port):
        guard = f"{RequireKey.__module__}.{RequireKey.__name__}"
        return ["--host", "0.0.0.0", "--port", str(listen.number), "--middleware", guard]
    return ["--uds", str(listen)]


def _lora_options(spec: EngineSpec) -> list[str]:
    """Let adapters be loaded later, as far as the operator's own options do not say it in another way."""
    own = {_dashed(name) for name in spec.args}
    words: list[str] = []
    if "enable-lora" not in own:
        words.append("--enable-lora")
    if "max-lora-rank" not in own:
        words += ["--max-lora-rank", str(spec.lora_rank)]
    if not own & {"max-loras", "max-cpu-loras"}:
        words += ["--max-loras", str(_LORAS_IN_BATCH), "--max-cpu-loras", str(_LORAS_IN_MEMORY)]
    return words


def _dashed(name: str) -> str:
    """Give an option's name as vLLM lists it, which takes underscores too."""
    return name.replace("_", "-")


def _says_how_to_divide(name: str) -> bool:
    """Whether an option spreads a model over GPUs, as ``pipeline-parallel-size`` and its kind do."""
    return _dashed(name).endswith("-parallel-size")


def _names_a_receiver(name: str) -> bool:
    return _dashed(name) == "otlp-traces-endpoint"


def _traced(traces: TraceExport) -> dict[str, str]:
    """Give the variables by which vLLM exports its spans over HTTP, of those requests that the gateway records.

    Without the protocol it would use gRPC; a name and a sampler that the gateway has in its environment are its own.
    """
    headers = ",".join(f"{quote(name)}={quote(value)}" for name, value in traces.headers.items())
    return {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers,
        "OTEL_SERVICE_NAME": "vllm",
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
    }


def _identity(source: Source, folder: Path) -> str:
    """Name exactly these files: a package's folder is so named; another's are told apart by place, size and time."""
    if isinstance(source, PackageSource):
        return source.digest
    facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in folder.glob("*.gguf")]
    return hashlib.sha256(repr(sorted(facts)).encode()).hexdigest()[:24]
