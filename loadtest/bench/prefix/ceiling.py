"""What is possible, from the trace alone: the hits of one cache as large as all together, and the engines' time."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.simulator.profile import Profile
from loadtest.traces import BLOCK_TOKENS, TraceRequest


def distinct_tokens(trace: Sequence[TraceRequest]) -> int:
    """Give how many tokens a cache must hold that forgets nothing of a trace."""
    return len({block for each in trace for block in each.blocks}) * BLOCK_TOKENS


def possible_hits(trace: Sequence[TraceRequest], cache_tokens: int) -> int:
    """Give how many prompt tokens one LRU cache of this size would have had, if one engine got all requests in turn.

    The last token of a prompt is computed always, and only whole blocks are found, as in vLLM.
    """
    cache: dict[int, None] = {}
    hits = 0
    for each in trace:
        known = 0
        while known < len(each.blocks) and each.blocks[known] in cache:
            known += 1
        hits += min(known, (each.tokens_in - 1) // BLOCK_TOKENS) * BLOCK_TOKENS
        for block in reversed(each.blocks):
            cache.pop(block, None)
            cache[block] = None
        while len(cache) * BLOCK_TOKENS > cache_tokens:
            del cache[next(iter(cache))]
    return hits


def engine_seconds(trace: Sequence[TraceRequest], hits: int, profile: Profile) -> float:
    """Give how long one engine is at work for a whole trace, if so many of its tokens are found in the cache.

    That is the time at full load, where steps are full: what reading and decoding cost, and the steps for it.
    """
    tokens = sum(each.tokens_in for each in trace)
    missed = tokens - hits
    read = missed / tokens
    attended = sum(read * each.tokens_in**2 / 2 + each.tokens_out * each.tokens_in for each in trace)
    return (
        missed * (profile.prefill_token + profile.step / profile.max_num_batched_tokens)
        + sum(each.tokens_out for each in trace) * profile.decode
        + attended * profile.attended
    )
