"""The gateway drains in three phases."""

from __future__ import annotations

import asyncio

from gateway.drain import drain


class Plane:
    """A data plane that writes down what is asked of it."""

    def __init__(self, *, busy: bool) -> None:
        self.said: list[str] = []
        self._idle = asyncio.Event()
        if not busy:
            self._idle.set()

    def announce_end(self) -> None:
        self.said.append("announce_end")

    def stop_accepting(self) -> None:
        self.said.append("stop_accepting")

    async def idle(self) -> None:
        await self._idle.wait()
        self.said.append("idle")

    def cancel_all(self) -> None:
        self.said.append("cancel_all")


async def test_a_drain_announces_then_stops_accepting_then_waits_for_the_running() -> None:
    plane = Plane(busy=False)
    assert await drain(plane, delay=0.0, within=5.0)
    assert plane.said == ["announce_end", "stop_accepting", "idle"]


async def test_what_does_not_finish_in_time_is_cancelled() -> None:
    plane = Plane(busy=True)
    assert not await drain(plane, delay=0.0, within=0.01)
    assert plane.said == ["announce_end", "stop_accepting", "cancel_all"]
