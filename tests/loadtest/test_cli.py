"""The load test as a person runs it: what it prints, what it saves, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from loadtest.cli import main
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import Faults

pytestmark = pytest.mark.slow


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtest", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def run(*arguments: str) -> tuple[int | None, str, str]:
    """Run the command; return its exit code, and what it wrote to stdout and stderr."""
    process = await started(*arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let what is started be interrupted, also where a shell runs the tests in its background, deaf to interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
async def engine() -> AsyncIterator[SimulatedEngine]:
    async with SimulatedEngine(timing=Timing(ttft=0.01, inter_token=0.001)) as running:
        yield running


async def test_an_open_loop_from_start_to_saved_results(engine: SimulatedEngine, tmp_path: Path) -> None:
    saved, report = tmp_path / "out.json", tmp_path / "out.html"
    code, out, err = await run(
        *("--url", engine.address, "--model", "sim", "--rate", "40", "--seconds", "2.5", "--slo", "ttft=1000"),
        *("--output-tokens", "4", "--metrics", engine.address, "--save", str(saved), "--report", str(report)),
    )
    assert code == 0
    found = json.loads(saved.read_text())
    assert found["completed"] == found["num_prompts"] == 100
    assert found["total_output_tokens"] == 400
    assert (found["request_rate"], found["model_id"], found["backend"]) == (40.0, "sim", "chat")
    assert found["p99_ttft_ms"] >= found["median_ttft_ms"] >= 10
    assert out.startswith("100 of 100 requests answered in ")
    assert "prompts of 100.0 tokens on average, which the server counted as" in out
    assert f"saved to {saved}\nreport in {report}" in out
    assert "0 failed, ttft p50" in err  # The progress, after two seconds.
    page = report.read_text()
    assert "waiting, as the server says" in page
    assert "chat of sim at http://127.0.0.1:" in page


async def test_a_mix_is_told_apart(engine: SimulatedEngine, tmp_path: Path) -> None:
    saved = tmp_path / "out.json"
    code, out, _ = await run(
        *("--url", engine.address, "--model", "sim", "--mix", "chat=1,embeddings=1,classify=1", "--rate", "60"),
        *("--seconds", "1", "--output-tokens", "2", "--save", str(saved)),
    )
    assert code == 0
    kinds = json.loads(saved.read_text())["kinds"]
    assert sum(part["completed"] for part in kinds.values()) == 60
    assert "mean_ttft_ms" in kinds["chat"]
    assert "mean_ttft_ms" not in kinds["classify"]
    assert "\nembeddings: " in out


async def test_a_closed_loop_of_small_requests(engine: SimulatedEngine) -> None:
    code, out, _ = await run(
        *("--url", engine.address, "--model", "sim", "--workload", "embeddings", "--clients", "2"),
        *("--seconds", "0.3", "--warm-up", "0"),
    )
    assert code == 0
    assert "e2el" in out
    assert "ttft" not in out


@pytest.mark.slow
async def test_a_ramp_finds_where_the_engine_is_full(tmp_path: Path) -> None:
    saved, report = tmp_path / "out.json", tmp_path / "out.html"
    # Four at a time for 100 ms each: at most 40 requests a second, which is nothing for the client.
    async with SimulatedEngine(timing=Timing(ttft=0.1, max_num_seqs=4)) as engine:
        code, out, _ = await run(
            *("--url", engine.address, "--model", "sim", "--ramp", "160", "--seconds", "0.4", "--slo", "ttft=500"),
            *("--arrivals", "constant", "--output-tokens", "1", "--save", str(saved), "--report", str(report)),
        )
    found = json.loads(saved.read_text())
    assert code == 0
    assert found["knee_rate"] < found["next_rate"] <= 160
    assert found["steps"][0]["rate"] == 160.0
    assert "ttft: " in found["steps"][0]["reason"]
    assert f"the knee is at {found['knee_rate']:.2f}/s" in out
    assert f"failed: {found['reason']}" in out
    assert "Goodput against rate" in report.read_text()


@pytest.mark.slow
async def test_a_ramp_that_meets_nothing_is_1_and_says_why() -> None:
    async with SimulatedEngine(timing=Timing(ttft=0.05)) as engine:
        code, out, _ = await run(
            *("--url", engine.address, "--model", "sim", "--ramp", "800", "--seconds", "0.1", "--slo", "ttft=1"),
            *("--output-tokens", "1"),
        )
    assert code == 1
    assert "no rate met the objectives; even 50.00/s failed: ttft: 100% of the requests took more than 1 ms" in out


async def test_a_comparison_relates_targets_in_turns(engine: SimulatedEngine, tmp_path: Path) -> None:
    saved, report = tmp_path / "out.json", tmp_path / "out.html"
    async with SimulatedEngine(timing=Timing(ttft=1.0, inter_token=0.001)) as slower:
        code, out, _ = await run(
            *("compare", "--target", f"direct={engine.address}", "--target", f"slower={slower.address}"),
            *("--model", "sim", "--rate", "20", "--rounds", "2", "--seconds", "0.5", "--output-tokens", "2"),
            *("--save", str(saved), "--report", str(report)),
        )
        assert {each.body for each in engine.requests}.isdisjoint(each.body for each in slower.requests)
    assert code == 0
    found = json.loads(saved.read_text())
    assert len(found["rounds"]) == 2
    assert found["compared"]["slower"]["median_ttft_ms"]["lowest"] > 1.5
    assert "medians of 2 rounds" in out
    assert "direct and slower" in report.read_text()


async def test_ctrl_c_ends_a_test_with_the_results_so_far() -> None:
    async with SimulatedEngine(timing=Timing(ttft=0.0, inter_token=0.0)) as engine:
        process = await started(
            *("--url", engine.address, "--model", "sim", "--rate", "50", "--seconds", "60", "--warm-up", "0")
        )
        await engine.until(lambda each: each.served > 5)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 0
    assert b" requests answered in " in out
    assert b"Traceback" not in err


async def test_ctrl_c_before_the_test_ends_it_without_any() -> None:
    async with SimulatedEngine(faults=Faults(delay=60.0)) as engine:
        process = await started("--url", engine.address, "--model", "sim", "--rate", "5")
        await engine.until(lambda each: each.received == 1)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", f"unix:{tmp_path}/x", "--model", "m", "--rate", "5"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert (
        told.err
        == f"unix:{tmp_path}/x cannot be reached: The engine refused the connection: No such file or directory.\n"
    )


async def test_answers_that_fail_all_are_1(engine: SimulatedEngine) -> None:
    process = await started(
        "--url", engine.address, "--model", "sim", "--rate", "20", "--seconds", "1", "--warm-up", "0"
    )
    await engine.until(lambda each: each.served == 1)
    engine.faults = Faults(status=503)
    out, _ = await process.communicate()
    assert b" x status 503" in out


def test_a_trace_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "m", "--trace", str(tmp_path / "none.jsonl")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/none.jsonl: No such file or directory\n"


def test_a_rate_at_which_nothing_would_be_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "m", "--rate", "0.01", "--seconds", "5"]) == 2
    assert capsys.readouterr().err == "at 0.01/s no request falls into 5 s; give longer --seconds\n"


async def test_a_trace_is_replayed(engine: SimulatedEngine, tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.0000000,5,2\n2023-11-16 18:17:05.0000000,6,3\n"
    )
    code, out, _ = await run(
        *("--url", engine.address, "--model", "sim", "--trace", str(trace), "--scale", "0.1", "--warm-up", "0")
    )
    assert code == 0
    assert out.startswith("2 of 2 requests answered")
    asked = [json.loads(request.body) for request in engine.requests][-2:]
    assert [each["max_completion_tokens"] for each in asked] == [2, 3]
    assert [len(each["messages"][0]["content"].split()) for each in asked] == [5, 6]


async def test_results_that_cannot_be_written_are_said_and_the_others_are_kept(
    engine: SimulatedEngine, tmp_path: Path
) -> None:
    code, out, err = await run(
        *("--url", engine.address, "--model", "sim", "--rate", "10", "--seconds", "0.2", "--output-tokens", "2"),
        *("--warm-up", "0", "--save", "/dev/full", "--report", str(tmp_path / "out.html")),
    )
    assert code == 2
    assert err == "/dev/full could not be written: No space left on device\n"
    assert "2 of 2 requests answered" in out
    assert (tmp_path / "out.html").exists()


async def test_ctrl_c_before_a_later_round_keeps_the_rounds_so_far() -> None:
    async with SimulatedEngine() as first, SimulatedEngine() as second:
        process = await started(
            *("compare", "--target", f"a={first.address}", "--target", f"b={second.address}", "--model", "sim"),
            *("--rate", "20", "--seconds", "0.5", "--output-tokens", "1", "--warm-up", "0", "--rounds", "3"),
        )
        # Each asks for one more than its ten before the load, so the eleventh of the second ends the first round.
        await second.until(lambda each: each.received == 11)
        second.faults = first.faults = Faults(silent=True)
        await second.until(lambda each: each.received == 12)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 0
    assert b"medians of 1 rounds" in out
    assert b"Traceback" not in err
