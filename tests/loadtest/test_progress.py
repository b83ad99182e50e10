"""A test says how it goes: on a terminal in one line that writes itself anew, elsewhere in lines."""

from __future__ import annotations

import asyncio
import io
import re

import pytest

from loadtest import progress as module
from loadtest import workload
from loadtest.load import Load
from loadtest.progress import Progress
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from tests.kit.eventually import PATIENCE

STREAM = workload.chat("sim", "hello", 2, stream=True)


class Screen(io.StringIO):
    """A stream that says whether it is a terminal, and lets a test wait for what is written."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal
        self.written = asyncio.Event()

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TERMINAL_SECONDS", 0.05)
    monkeypatch.setattr(module, "_PLAIN_SECONDS", 0.05)


async def shown(screen: Screen) -> str:
    """Run two requests, one of which waits for ever, until the progress has been written."""
    async with SimulatedEngine(timing=Timing(max_num_seqs=1, ttft=0.0, inter_token=30.0)) as engine:
        load = Load(engine.address)
        with Progress(screen).showing(load, "warm-up  "):
            task = asyncio.create_task(load.open_loop([STREAM], [0.0, 0.0]))
            await engine.until(lambda each: each.running == 1 and each.waiting == 1)
            screen.written.clear()
            async with asyncio.timeout(PATIENCE):
                await screen.written.wait()
        load.stop()
        await task
        load.close()
    return screen.getvalue()


LINE = r"warm-up     0 s  offered \d+\.\d, achieved 0\.0/s; 2 in flight, 0 failed(, ttft p50 \d+\.\d ms)?"


async def test_lines_elsewhere() -> None:
    text = await shown(Screen(terminal=False))
    assert "\r" not in text
    assert re.fullmatch(LINE, text.splitlines()[-1])


async def test_one_line_on_a_terminal_which_is_cleared_at_the_end() -> None:
    text = await shown(Screen(terminal=True))
    assert "\n" not in text
    assert text.endswith("\r\x1b[K")
    assert re.search(r"\r\x1b\[K" + LINE, text)
