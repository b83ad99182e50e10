"""A jump of the time of day is noticed once, and nothing follows from it."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.core import wall_clock
from gateway.core.wall_clock import WallClock
from tests.kit.playbook import Playbook, post
from tests.kit.scripted import whole


class TimeOfDay:
    """A clock on the wall that can be set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def time_of_day(monkeypatch: pytest.MonkeyPatch) -> TimeOfDay:
    """Let the gateway read a clock that can be set wherever it asks for the time of day."""
    clock = TimeOfDay()
    for module in ("core.wall_clock", "api.pipeline", "api.rate_limit", "http.error_response", "files.store"):
        monkeypatch.setattr(f"gateway.{module}.time", clock)
    return clock


@pytest.mark.parametrize("seconds", [3600.0, -86_400.0, 1.5])
def test_a_jump_is_told_once(time_of_day: TimeOfDay, seconds: float) -> None:
    clock = WallClock()
    assert clock.jump() == 0.0
    time_of_day.ahead += seconds
    assert clock.jump() == pytest.approx(seconds, abs=0.5)
    assert clock.jump() == 0.0


def test_a_clock_that_is_slewed_has_not_jumped(time_of_day: TimeOfDay) -> None:
    clock = WallClock()
    for _ in range(9):
        time_of_day.ahead += 0.4
        assert clock.jump() == 0.0
    assert "ahead of the monotonic clock" in repr(clock)


async def test_one_line_says_so(time_of_day: TimeOfDay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_clock, "LOOK_SECONDS", 0.001)
    said: asyncio.Queue[str] = asyncio.Queue()
    watching = asyncio.create_task(wall_clock.watch(said.put_nowait))
    await asyncio.sleep(0)
    time_of_day.ahead -= 3600.0
    async with asyncio.timeout(10):
        assert (await said.get()).startswith("the system's clock jumped by -3600.0 s; deadlines")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert said.empty()


@pytest.mark.parametrize("seconds", [86_400.0, -86_400.0])
async def test_requests_go_on_and_keep_their_deadlines(time_of_day: TimeOfDay, seconds: float) -> None:
    limits = {"requests_per_minute": 2}
    digest = "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"
    play = Playbook(engines=2, limit=1, keys=[{"id": "a", "sha256": digest, "limits": limits}])
    clients = [play.new_client() for _ in range(3)]
    for client in clients[:2]:
        client.sends(post(headers=b"authorization: Bearer 123\r\n"))
    time_of_day.ahead += seconds
    play.dispatcher.tick(time.perf_counter())
    # One runs and one waits as before, and the limit of a minute is used up as before.
    assert play.held()[:2] == (1, 1)
    clients[2].sends(post(headers=b"authorization: Bearer 123\r\n"))
    assert clients[2].got().startswith(b"HTTP/1.1 429 ")
    for client in clients[:2]:
        play.last_asked.says(whole(b'{"ok":1}'))
        await play.turn()
        assert client.got().startswith(b"HTTP/1.1 200 ")
    assert set(play.held()) == {0}
