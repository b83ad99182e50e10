"""What an engine says of its own load: in vLLM's metrics, or in the header ``endpoint-load-metrics`` of its responses.

The header is that of Open Request Cost Aggregation (ORCA), as gRPC, Envoy and vLLM have it. Both count the requests of
everyone who asks the engine, which no gateway can count by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

_GAUGE = re.compile(
    rb"^vllm:num_requests_(running|waiting)(?:\{[^\n]*\})? (\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)$", re.MULTILINE
)
_CACHE = re.compile(rb"^vllm:cache_config_info\{([^\n]*)\} ", re.MULTILINE)
_BLOCKS = re.compile(rb'(?:^|,)num_gpu_blocks="(\d{1,9})"')
_BLOCK_SIZE = re.compile(rb'(?:^|,)block_size="(\d{1,9})"')

_RUNNING = "num_requests_running"
_WAITING = "num_requests_waiting"


class EngineLoad(NamedTuple):
    """How many requests an engine has, running and waiting, and how many tokens its KV cache has room for.

    ``requests`` is a lower bound where it tells only those that wait; ``cache_tokens`` is 0 where it says nothing.
    """

    requests: float
    cache_tokens: int = 0


def in_metrics(text: bytes) -> EngineLoad | None:
    """Read vLLM's metrics; those of several engines behind one address are added up. ``None`` if there are none."""
    gauges = _GAUGE.findall(text)
    if not gauges:
        return None
    cache = sum(_cache_tokens(labels) for labels in _CACHE.findall(text))
    return EngineLoad(sum(float(value) for _, value in gauges), cache)


def in_header(value: bytes) -> EngineLoad | None:
    """Read an ORCA report, in its text or its JSON form. ``None`` if it does not tell how many requests there are."""
    kind, _, report = value.decode("latin-1").strip().partition(" ")
    match kind:
        case "TEXT":
            named = dict(_text_metrics(report))
        case "JSON":
            named = _json_metrics(report)
        case _:
            return None
    told = [named[name] for name in (_RUNNING, _WAITING) if name in named]
    return EngineLoad(sum(told)) if told else None


def _cache_tokens(labels: bytes) -> int:
    blocks, size = _BLOCKS.search(labels), _BLOCK_SIZE.search(labels)
    return int(blocks[1]) * int(size[1]) if blocks and size else 0


def _text_metrics(report: str) -> Iterator[tuple[str, float]]:
    for pair in report.split(","):
        name, _, value = pair.strip().partition("=")
        try:
            yield name.removeprefix("named_metrics."), float(value)
        except ValueError:
            continue


class _Report(msgspec.Struct):
    named_metrics: dict[str, float] = {}


def _json_metrics(report: str) -> dict[str, float]:
    try:
        return msgspec.json.decode(report, type=_Report).named_metrics
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {}
