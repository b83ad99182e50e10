"""What an engine says about itself: its model, its version, its metrics."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from loadtest.simulator.batch import Batch
from loadtest.simulator.engine_response import UnaryResponse
from loadtest.simulator.scheduler import Scheduler

_VERSION = "0.32.0"


def models(model: str, max_model_len: int, adapters: Mapping[str, str]) -> UnaryResponse:
    """Answer ``/v1/models``, with the folders of ``adapters`` by their names."""
    permission = {
        "id": "modelperm-simulated",
        "object": "model_permission",
        "created": 0,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    card = {
        "id": model,
        "object": "model",
        "created": 0,
        "owned_by": "vllm",
        "root": model,
        "parent": None,
        "max_model_len": max_model_len,
        "permission": [permission],
    }
    loras = [
        card | {"id": name, "root": folder, "parent": model, "max_model_len": None} for name, folder in adapters.items()
    ]
    return UnaryResponse(msgspec.json.encode({"object": "list", "data": [card, *loras]}))


def version() -> UnaryResponse:
    """Answer ``/version`` with the version of vLLM whose shapes these are."""
    return UnaryResponse(msgspec.json.encode({"version": _VERSION}))


def metrics(model: str, batch: Batch | Scheduler) -> UnaryResponse:
    """Answer ``/metrics`` with what gateways and their operators read of vLLM, in Prometheus' text format."""
    series: list[tuple[str, str, float]] = [
        ("vllm:num_requests_running", "Number of requests in model execution batches.", batch.running),
        ("vllm:num_requests_waiting", "Number of requests waiting to be processed.", batch.waiting),
        ("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", batch.kv_cache_usage),
    ]
    lines = []
    if isinstance(batch, Scheduler):
        series += [
            ("vllm:num_preemptions_total", "Cumulative number of preemption from the engine.", batch.preemptions),
            (
                "vllm:prefix_cache_queries_total",
                "Prefix cache queries, in terms of number of queried tokens.",
                batch.queried_tokens,
            ),
            (
                "vllm:prefix_cache_hits_total",
                "Prefix cache hits, in terms of number of cached tokens.",
                batch.cached_tokens,
            ),
        ]
        profile = batch.profile
        lines += ["# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig"]
        lines += ["# TYPE vllm:cache_config_info gauge"]
        facts = f'block_size="{profile.block_size}",enable_prefix_caching="True",num_gpu_blocks="{profile.num_blocks}"'
        lines.append(f'vllm:cache_config_info{{engine="0",{facts}}} 1.0')
    # As the text format wants it of the value of a label.
    label = model.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    for name, description, value in series:
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
        lines.append(f'{name}{{engine="0",model_name="{label}"}} {float(value)}')
    text = "\n".join(lines) + "\n"
    return UnaryResponse(text.encode(), content_type=b"text/plain; version=1.0.0; charset=utf-8")
