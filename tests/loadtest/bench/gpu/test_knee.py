"""Streams are doubled as long as that brings more tokens."""

import pytest

from loadtest.bench.gpu.knee import Knee, find_knee


async def found(most: int, *, full_at: float) -> Knee:
    """Find the knee of an engine that brings 10 tokens per second for each stream, until it is full."""

    async def measure(streams: int) -> float:
        return min(10.0 * streams, full_at)

    return await find_knee(measure, 8, most)


@pytest.mark.parametrize(
    ("full_at", "streams", "full"),
    [
        (300, 32, True),  # 64 bring no more than 30 would.
        (320, 32, True),
        (345, 32, True),  # 64 bring 8 % more.
        (360, 64, True),  # 64 bring 12.5 % more.
        (50, 8, True),
        (10_000, 256, False),
    ],
)
async def test_the_knee_is_the_last_number_that_was_worth_it(full_at: float, streams: int, full: bool) -> None:
    knee = await found(256, full_at=full_at)
    assert (knee.streams, knee.full) == (streams, full)


async def test_no_more_streams_are_tried_than_the_engine_runs() -> None:
    knee = await found(100, full_at=10_000)
    assert knee.tokens_per_second == {8: 80, 16: 160, 32: 320, 64: 640}
    assert (knee.streams, knee.full) == (64, False)
