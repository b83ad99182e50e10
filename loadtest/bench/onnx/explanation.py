"""What an explained class costs: its own wait, and that of plain requests beside it."""

from __future__ import annotations

import asyncio
from statistics import median

import msgspec

from loadtest import workload
from loadtest.bench.onnx import servers
from loadtest.bench.onnx.latency import one_by_one
from loadtest.bench.onnx.subject import Subject
from loadtest.workload import Request

_WORDS = 20
_PAUSE = 0.02
"""Seconds between two plain requests of the client that is watched."""


async def measure(subject: Subject) -> None:
    """Measure a lone explanation, and plain requests alone, beside explanations and beside large plain requests."""
    if subject.task != "classify":
        print("only a classifier explains its classes")
        return
    text = " ".join(workload.text(_WORDS, 0).split()[:_WORDS])
    plain, explained = subject.request([text]), _explained(text)
    # As many texts of the same length as the explanation computes.
    large = subject.request([text] * (len(text.split()) + 1))
    seconds = subject.options.seconds
    async with servers.engine(subject) as engine, servers.gateway(engine) as gateway:
        url = gateway.address
        alone = await asyncio.to_thread(one_by_one, url, explained, seconds)
        print(f"{len(text.split())} words explained, alone: {_percentiles(alone)}", flush=True)
        for name, beside in (("alone", None), ("beside explanations", explained), ("beside as many texts", large)):
            watched = asyncio.to_thread(one_by_one, url, plain, seconds, _PAUSE)
            others = [] if beside is None else [asyncio.to_thread(one_by_one, url, beside, seconds)]
            found, *_ = await asyncio.gather(watched, *others)
            print(f"plain requests {name}: {_percentiles(found)}", flush=True)


def _explained(text: str) -> Request:
    return Request("/classify", msgspec.json.encode({"model": "model", "input": text, "explain": True}))


def _percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"p50 {median(ordered) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms ({len(ordered)} requests)"
