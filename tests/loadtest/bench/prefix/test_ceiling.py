"""What is possible is counted from the trace alone."""

from __future__ import annotations

import pytest

from loadtest.bench.prefix.ceiling import distinct_tokens, engine_seconds, possible_hits
from loadtest.simulator.profile import Profile
from loadtest.traces import TraceRequest


def asked(*blocks: int, tokens: int | None = None) -> TraceRequest:
    return TraceRequest(0.0, len(blocks) * 512 + 1 if tokens is None else tokens, 10, blocks)


def test_whole_blocks_that_were_seen_are_found_again() -> None:
    trace = [asked(1, 2), asked(1, 3), asked(1, 2, 4), asked(5)]
    assert distinct_tokens(trace) == 5 * 512
    assert possible_hits(trace, 100 * 512) == 3 * 512


def test_the_last_token_is_always_computed_and_a_block_that_is_not_whole_is_not_found() -> None:
    assert possible_hits([asked(1, 2, tokens=1024)] * 2, 100 * 512) == 512
    assert possible_hits([asked(1, 2, tokens=700)] * 2, 100 * 512) == 512


def test_a_cache_forgets_what_was_not_used_for_the_longest_time_the_end_of_a_prompt_first() -> None:
    assert possible_hits([asked(1, 2), asked(3), asked(1, 2)], 2 * 512) == 512
    assert possible_hits([asked(1, 2), asked(3, 4), asked(1, 2)], 2 * 512) == 0


def test_engines_are_at_work_for_what_is_not_found_and_for_what_is_generated() -> None:
    profile = Profile(prefill_token=0.001, decode=0.01, step=0.0, attended=0.0)
    trace = [asked(1, tokens=1000), asked(1, tokens=1000)]
    assert engine_seconds(trace, 0, profile) == pytest.approx(2 * 1.0 + 20 * 0.01)
    assert engine_seconds(trace, 500, profile) == pytest.approx(1.5 + 20 * 0.01)
    attending = Profile(attended=1e-6)
    assert engine_seconds(trace, 1000, attending) == pytest.approx(0.5 * 1.0 + 2 * 10 * 1000 * 1e-6)
