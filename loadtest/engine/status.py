"""What an engine says about itself: its model, its version, its metrics."""

from __future__ import annotations

import msgspec

from loadtest.engine.answers import Unary
from loadtest.engine.batch import Batch

_VERSION = "0.32.0"


def models(model: str, max_model_len: int) -> Unary:
    """Answer ``/v1/models``."""
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
    return Unary(msgspec.json.encode({"object": "list", "data": [card]}))


def version() -> Unary:
    """Answer ``/version`` with the version of vLLM whose shapes these are."""
    return Unary(msgspec.json.encode({"version": _VERSION}))


def metrics(model: str, batch: Batch) -> Unary:
    """Answer ``/metrics`` with the gauges that gateways read, in Prometheus' text format."""
    gauges = (
        ("vllm:num_requests_running", "Number of requests in model execution batches.", batch.running),
        ("vllm:num_requests_waiting", "Number of requests waiting to be processed.", batch.waiting),
        ("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", batch.kv_cache_usage),
    )
    lines = []
    for name, description, value in gauges:
        lines += [f"# HELP {name} {description}", f"# TYPE {name} gauge"]
        lines.append(f'{name}{{engine="0",model_name="{model}"}} {float(value)}')
    text = "\n".join(lines) + "\n"
    return Unary(text.encode(), content_type=b"text/plain; version=1.0.0; charset=utf-8")
