"""Replays recorded conversations to simulated engines through one gateway after the other, beside what is possible."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from loadtest import arrivals
from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.launch import DidNotStart, launched, python
from loadtest.bench.prefix import engines as simulated
from loadtest.bench.prefix.ceiling import distinct_tokens, engine_seconds, possible_hits
from loadtest.bench.prefix.gateways import Candidate, running
from loadtest.http_client import HttpClient
from loadtest.load import Load
from loadtest.summary import percentile
from loadtest.traces import BLOCK_TOKENS, TraceRequest
from loadtest.workload import Request, chat

_LISTEN = re.compile(r"engines listen on (.+)")
_HITS = re.compile(r"^vllm:prefix_cache_hits_total\{[^}]*\} (\S+)$", re.MULTILINE)

_OUTPUT_SHARE = 1 / 8
"""How much of each recorded response is generated: one machine simulates all engines, and each token is an event."""

_FEWEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSettings:
    """What is replayed. Loads are shares of what the engines could do if every possible hit were found."""

    requests: int = 2000
    cached_share: float = 0.4
    """How much of the trace all caches together hold."""
    replicas: tuple[int, ...] = (4, 8)
    loads: tuple[float, ...] = (0.6, 0.9)
    speed: float = 4.0
    """How many times as fast as the profile's machine the engines are."""


async def measure(
    trace: Sequence[TraceRequest],
    candidates: Sequence[Candidate],
    settings: PrefixSettings,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Replay a trace at each load through each gateway, with engines that know nothing at its beginning.

    ``failed`` counts the requests that failed at Headgate; what failed at a peer stands with that peer.
    """
    trace = [_shortened(each) for each in trace[: settings.requests]]
    requests = [_request(each) for each in trace]
    tokens = sum(each.tokens_in for each in trace)
    distinct = distinct_tokens(trace)
    hits = possible_hits(trace, int(settings.cached_share * distinct))
    log(f"prefix: {hits / tokens:.1%} of {tokens:,} prompt tokens could be found in the cache")
    runs: list[dict[str, Any]] = []
    for replicas in settings.replicas:
        blocks = int(settings.cached_share * distinct / replicas) // simulated.profile(speed=1, num_blocks=1).block_size
        profile = simulated.profile(speed=settings.speed, num_blocks=blocks)
        for load in settings.loads:
            rate = load * replicas * len(trace) / engine_seconds(trace, hits, profile)
            for candidate in candidates:
                found = await _run(
                    candidate, trace, requests, _Setting(replicas, load, rate, settings.speed, blocks), log
                )
                runs.append({**found, "hit_share": round(found["hits"] / hits, 4) if hits else 1.0})
                log(_told(runs[-1]))
    return {
        "requests": len(trace),
        "prompt_tokens": tokens,
        "output_share": _OUTPUT_SHARE,
        "distinct_tokens": distinct,
        "cached_share": settings.cached_share,
        "ceiling": hits / tokens,
        "profile": simulated.PROFILE,
        "speed": settings.speed,
        "failed": sum(run["failed"] for run in runs if run["ours"]),
        "runs": runs,
    }


@dataclass(frozen=True, slots=True)
class _Setting:
    """So many engines with so many blocks of cache each, at a load."""

    replicas: int
    load: float
    rate: float
    speed: float
    blocks: int


async def _run(
    candidate: Candidate,
    trace: Sequence[TraceRequest],
    requests: Sequence[Request],
    setting: _Setting,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Replay the trace once."""
    seconds = max(_FEWEST_SECONDS, len(trace) / setting.rate)
    scale = seconds / max(trace[-1].at - trace[0].at, 1e-9)
    moments = arrivals.rescaled([each.at for each in trace], scale)
    found: dict[str, Any] = {"gateway": candidate.name, "ours": candidate.ours, "replicas": setting.replicas}
    found |= {"load": setting.load, "rate": round(setting.rate, 2)}
    async with _engines(setting) as addresses:
        cache_tokens = setting.blocks * simulated.profile(speed=1, num_blocks=1).block_size
        try:
            async with running(candidate, addresses, cache_tokens) as gateway:
                before = await _hits(addresses)
                used = gateway.cpu_seconds
                load = Load(gateway.address)
                try:
                    await load.open_loop(requests, moments)
                finally:
                    load.close()
                used = gateway.cpu_seconds - used
        except DidNotStart as error:
            if candidate.ours:
                raise
            log(f"prefix: {candidate.name} does not run: {error}")
            return found | _nothing(len(trace), str(error))
        hits = await _hits(addresses) - before
    ttft = [each.ttft * 1000 for each in load.records if each.succeeded and each.ttft is not None]
    failures = [each.detail or each.error for each in load.records if not each.succeeded]
    return found | {
        "hits": hits,
        "failed": len(failures),
        "failure": failures[0] if failures else "",
        "p50_ttft_ms": round(percentile(ttft, 50), 1) if ttft else None,
        "p90_ttft_ms": round(percentile(ttft, 90), 1) if ttft else None,
        "p99_lateness_ms": round(percentile([each.lateness * 1000 for each in load.records], 99), 1),
        "gateway_cpu_us": round(used / len(trace) * 1e6, 1),
        "client_cpu_seconds": round(load.cpu_seconds, 2),
    }


def _nothing(requests: int, why: str) -> dict[str, Any]:
    """Say of a gateway that did not start that all requests failed."""
    figures = dict.fromkeys(("p50_ttft_ms", "p90_ttft_ms", "p99_lateness_ms", "gateway_cpu_us", "client_cpu_seconds"))
    return {"hits": 0, "failed": requests, "failure": why, **figures}


@asynccontextmanager
async def _engines(setting: _Setting) -> AsyncIterator[Sequence[str]]:
    """Run the engines beside the load, and yield their addresses."""
    options = ["--number", str(setting.replicas), "--num-blocks", str(setting.blocks), "--speed", str(setting.speed)]
    async with launched(python("loadtest.bench.prefix.engines", *options), load_and_gateway_cpus()[0]) as process:
        yield (await process.until_written(_LISTEN))[1].split()


async def _hits(addresses: Sequence[str]) -> int:
    """Add up how many prompt tokens the engines have found in their caches."""
    total = 0.0
    for address in addresses:
        async with HttpClient(address) as client:
            page = (await client.get("/metrics")).text
        total += sum(float(value) for value in _HITS.findall(page))
    return int(total)


def _shortened(recorded: TraceRequest) -> TraceRequest:
    return replace(recorded, tokens_out=max(1, round(recorded.tokens_out * _OUTPUT_SHARE)))


def _request(recorded: TraceRequest) -> Request:
    """Write the request, whose prompt has for each block of the trace a text of so many of the simulator's tokens."""
    missing = max(0, recorded.tokens_in - len(recorded.blocks) * BLOCK_TOKENS)
    blocks = [_text(block, BLOCK_TOKENS) for block in recorded.blocks]
    blocks.append(_text(f"{recorded.at} {recorded.tokens_in}", missing))
    text = "".join(blocks)[: recorded.tokens_in * 4]
    return replace(chat(simulated.MODEL, text, recorded.tokens_out, stream=True), tokens=recorded.tokens_in)


def _text(seed: int | str, tokens: int) -> str:
    """Write random hexadecimal digits, four to a token; the same seed gives the same text."""
    return random.Random(seed).randbytes(2 * tokens).hex()  # noqa: S311 - reproducible prompts, nothing secret


def _told(run: Mapping[str, Any]) -> str:
    if run["p90_ttft_ms"] is None:
        return f"prefix {run['gateway']}, {run['replicas']} replicas, {run['load']:.0%}: nothing was answered"
    return (
        f"prefix {run['gateway']}, {run['replicas']} replicas, {run['load']:.0%} ({run['rate']:.1f}/s): "
        f"{run['hit_share']:.1%} of the possible hits, TTFT p50 {run['p50_ttft_ms']:.0f} "
        f"p90 {run['p90_ttft_ms']:.0f} ms, {run['failed']} failed"
    )
