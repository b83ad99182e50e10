"""A training process is alone in its folder, is asked before it is killed, and leaves nothing running."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from engines.tuning.local_child import LocalChild
from tests.kit.eventually import eventually

pytestmark = pytest.mark.slow

_WAITS = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4) if os.environ.get('POLITE', '1') else None)\n"
    "print('up', os.nice(0), os.environ['OMP_WAIT_POLICY'], os.environ['OMP_NUM_THREADS'], flush=True)\n"
    "while True: time.sleep(60)\n"
)


async def started(code: str, log: Path) -> LocalChild:
    return await LocalChild.start((sys.executable, "-S", "-c", code), log, print, threads=2, memory_bytes=2**30)


async def until_said(log: Path, said: str) -> None:
    await eventually(lambda: log.exists() and said in log.read_text())


async def test_it_runs_below_all_others_and_its_code_is_its_own(tmp_path: Path) -> None:
    child = await started(_WAITS, tmp_path / "log")
    await until_said(tmp_path / "log", "up 19 PASSIVE 2")
    child.stop()
    assert await child.ended() == 4


async def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    child = await started(_WAITS.replace("sys.exit(4)", "None"), tmp_path / "log")
    await until_said(tmp_path / "log", "up")
    child.stop(grace=0.1)
    assert await child.ended() == 128 + 9
    child.kill()


async def test_the_next_one_waits_until_nothing_of_the_last_one_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = await started(_WAITS, log)
    await until_said(log, "up")
    starting = asyncio.create_task(started("print('second')", log))
    done, _ = await asyncio.wait([starting], timeout=0.2)
    assert not done
    first.kill()
    second = await starting
    assert await second.ended() == 0
    assert log.read_text().endswith("second\n")
    await first.ended()
