"""What counts of a turn: the tokens and the requests of the time in which all streams run."""

import json
import os
from typing import Any

import pytest

from loadtest.bench.gpu.engine import Compared
from loadtest.bench.gpu.turn import Lengths, NothingMeasured, figures, requests, seconds_for, turn
from loadtest.record import Record
from loadtest.simulator import SimulatedEngine, Timing


def streamed(sent: float, first: float, gap: float, tokens: int, **changes: Any) -> Record:
    """Make the record of a stream with one token in each event."""
    last = first + gap * (tokens - 1)
    fields = {"sent": sent, "first": first, "last": last, "ended": last, "gaps": [gap] * (tokens - 1)}
    return Record(sent, **{**fields, "tokens_out": tokens, **changes})


def measured(records: list[Record], streams: int) -> dict[str, Any]:
    """Return the figures of a turn that has some."""
    found = figures(records, streams)
    assert found is not None
    return found


def unary(sent: float, last: float, tokens: int) -> Record:
    """Make the record of a response that is no stream."""
    return Record(sent, sent=sent, last=last, ended=last, tokens_out=tokens)


def test_the_first_requests_of_streams_end_one_after_the_other_and_all_prompts_differ() -> None:
    bodies = [json.loads(each.body) for each in requests("m", 4, 6, Lengths(prompt=3, response=10), stream=True)]
    assert [each["max_completion_tokens"] for each in bodies] == [3, 5, 8, 10, 10, 10]
    assert len({each["messages"][0]["content"] for each in bodies}) == 6
    assert all(each["ignore_eos"] and each["temperature"] == 0 and each["stream"] for each in bodies)


def test_a_turn_is_long_enough_for_some_responses() -> None:
    assert seconds_for(64, 2.0, 1.0) == 3.0 + 4.0
    assert seconds_for(1, 2.0, 1.0) == 3.0 + 16.0
    assert seconds_for(64, 0.1, 1.0) == pytest.approx(0.15 + 1.0)


def test_tokens_count_that_came_while_all_streams_ran() -> None:
    records = [
        streamed(0.0, 0.125, 0.125, 8),  # Begins the one stream; ends at 1.0.
        streamed(1.0, 1.125, 0.125, 8),
        streamed(2.0, 2.125, 0.125, 8),
        streamed(3.0, 3.125, 0.125, 8),  # The last: what it brings comes when no more are sent.
    ]
    found = measured(records, 1)
    assert found["tokens_per_second"] == 8.0
    assert found["responses"] == 3
    assert found["ttft_p50_ms"] == 125.0
    assert found["tpot_p50_ms"] == 125.0


def test_events_with_several_tokens_count_in_full() -> None:
    records = [streamed(sent, sent + 0.125, 0.125, 8, tokens_out=24) for sent in (0.0, 1.0, 2.0)]
    assert measured(records, 1)["tokens_per_second"] == 24.0


def test_responses_that_are_no_streams_are_taken_to_come_evenly() -> None:
    # Two at once: all run from 1.0, when the first of the second stream ends, to 2.5, when the last one is sent.
    records = [unary(0.0, 0.5, 5), unary(0.0, 1.0, 10), unary(0.5, 1.5, 10), unary(1.0, 2.0, 10), unary(1.5, 2.5, 10)]
    records += [unary(2.0, 3.0, 10), unary(2.5, 3.5, 10)]
    found = measured(records, 2)
    assert found["tokens_per_second"] == pytest.approx(20.0)
    assert found["e2e_p50_ms"] == pytest.approx(1000)
    assert "ttft_p50_ms" not in found


def test_failures_count_and_do_not_bring_tokens() -> None:
    failed = Record(1.0, sent=1.0, ended=1.5, error="status 500")
    records = [streamed(0.0, 0.125, 0.125, 8), failed, streamed(1.5, 1.625, 0.125, 4), streamed(2.0, 2.125, 0.125, 4)]
    found = measured(records, 1)
    assert found["failed"] == 1
    assert found["tokens_per_second"] == 4.0


def test_where_nothing_was_answered_the_reason_is_said() -> None:
    refused = Record(0.0, sent=0.0, ended=0.1, error="status 400", detail="too long")
    with pytest.raises(NothingMeasured, match="no request was answered: status 400 too long"):
        figures([refused, refused], 1)
    with pytest.raises(NothingMeasured, match="none was sent"):
        figures([], 1)


def test_a_turn_in_which_not_all_streams_ran_at_once_has_no_figures() -> None:
    assert figures([streamed(0.0, 0.1, 0.1, 10), streamed(0.0, 0.1, 0.1, 10)], 2) is None


async def test_a_turn_that_is_too_short_is_said_when_longer_ones_are_too() -> None:
    async with SimulatedEngine("m", timing=Timing(ttft=0.05)) as engine:
        target = Compared("m", engine.address, engine.address, "key", os.getpid())
        asked = requests("m", 1, 2, Lengths(prompt=1, response=1), stream=True)
        with pytest.raises(NothingMeasured, match="--seconds has to be more"):
            await turn(target, asked, 1, 0.001, direct=True)
        assert (await turn(target, asked, 1, 0.1, direct=False))["responses"] >= 1
