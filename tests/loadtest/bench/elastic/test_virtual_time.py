"""In virtual time an hour passes at once, in the order that timers have."""

from __future__ import annotations

import asyncio

import pytest

from loadtest.bench.elastic.virtual_time import VirtualTimeLoop


def test_time_jumps_to_the_next_timer() -> None:
    async def sleep_long() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        loop.call_later(1800, lambda: seen.append(loop.time()))
        await asyncio.sleep(3600)
        return [*seen, loop.time()]

    loop = VirtualTimeLoop()
    try:
        assert loop.run_until_complete(sleep_long()) == [0.0, 1800.0, 3600.0]
    finally:
        loop.close()


def test_a_wait_for_nothing_is_told_instead_of_hanging() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    loop = VirtualTimeLoop()
    waiting = loop.create_task(wait_for_nothing())
    try:
        with pytest.raises(RuntimeError, match="nothing is due any more"):
            loop.run_until_complete(waiting)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(waiting)
    finally:
        loop.close()
