"""The calibration's command line."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import Faults, Profile, SimulatedEngine
from loadtest.simulator.calibration.__main__ import main


@pytest.fixture
def engine() -> Iterator[SimulatedEngine]:
    """A simulated engine on a loop and thread of its own, because the command runs a loop itself."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    made = SimulatedEngine("m", profile=Profile(step=0.001, prefill_token=0.0001))
    run(made.start())
    yield made
    run(made.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.slow  # What it fits are times that it measures, which are of no use beside other tests.
def test_it_prints_a_profile_and_saves_what_was_measured(
    engine: SimulatedEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "costs.json"
    arguments = ["--url", engine.address, "--model", "m", "--prompts", "16", "64", "--at-once", "1", "4"]
    assert main([*arguments, "--save", str(saved)]) == 0
    assert "Profile(request=" in capsys.readouterr().out
    found = json.loads(saved.read_text())
    assert set(found["costs"]) == {"request", "step", "prefill_token", "decode", "attended"}
    assert [(each["what"], each["concurrency"], each["prompt_tokens"]) for each in found["points"]] == [
        ("ttft", 1, 16),
        ("ttft", 1, 64),
        ("gap", 1, 32),
        ("gap", 4, 32),
        ("gap", 4, 512),
    ]


def test_a_mixed_load_is_summed_up(engine: SimulatedEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", engine.address, "--model", "m", "--mixed", "--rate", "100", "--seconds", "0.1"]) == 0
    assert "requests answered" in capsys.readouterr().out


def test_an_engine_that_fails_is_said(engine: SimulatedEngine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.faults = Faults(status=500)
    assert main(["--url", engine.address, "--model", "m"]) == 1
    assert "a request failed: status 500" in capsys.readouterr().err
