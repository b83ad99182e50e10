"""A training that is asked to stop does so while it runs, and while it waits for its next try."""

from __future__ import annotations

import asyncio

from engines.tuning.run import Run
from tests.kit.eventually import PATIENCE


class Asked:
    """A training process that only notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def ended(self) -> int:
        return 0

    def stop(self, grace: float = 60.0) -> None:
        self.asked.append(f"stop within {grace:g} s")

    def kill(self) -> None:
        self.asked.append("kill")


def test_its_process_is_asked_to_stop_or_killed() -> None:
    run = Run()
    run.child = asked = Asked()
    run.stop()
    run.stop(8.0)
    run.kill()
    assert asked.asked == ["stop within 60 s", "stop within 8 s", "kill"]


def test_one_that_has_no_process_yet_is_known_to_be_stopped() -> None:
    for end in (Run.stop, Run.kill):
        run = Run()
        end(run)
        assert run.stopped
        assert repr(run) == "<Run None [stopped]>"


async def test_a_pause_ends_by_itself_or_when_it_is_stopped() -> None:
    run = Run()
    await run.pause(0.0)
    assert not run.stopped
    waiting = asyncio.create_task(run.pause(3_600.0))
    await asyncio.sleep(0)
    run.stop()
    async with asyncio.timeout(PATIENCE):
        await waiting
