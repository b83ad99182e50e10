"""The load test from the command line: what people see, and what is saved."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from loadtest.__main__ import main, parser, plan
from loadtest.engine import SimulatedEngine
from loadtest.engine.batch import Timing


async def bench(*arguments: str, key: str = "") -> tuple[int | None, str, str]:
    """Run the command; return its exit code, and what it wrote to stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtest", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_an_open_loop_from_start_to_saved_results(tmp_path: Path) -> None:
    saved = tmp_path / "out.json"
    async with SimulatedEngine(timing=Timing(ttft=0.01, inter_token=0.001)) as engine:
        code, out, err = await bench(
            *("--url", engine.address, "--model", "sim", "--rate", "40", "--seconds", "2.5", "--slo", "ttft=1000"),
            *("--output-tokens", "4", "--save", str(saved)),
        )
    assert code == 0
    found = json.loads(saved.read_text())
    assert found["completed"] == found["num_prompts"] > 50
    assert found["total_output_tokens"] == 4 * found["completed"]
    assert found["options"]["rate"] == 40.0
    assert found["p99_ttft_ms"] >= found["median_ttft_ms"] >= 10
    assert out.startswith(f"{found['completed']} of {found['num_prompts']} requests answered in ")
    assert f"saved to {saved}" in out
    assert "0 failed" in err  # The progress, after two seconds.


async def test_a_closed_loop_of_small_requests() -> None:
    async with SimulatedEngine() as engine:
        code, out, _ = await bench(
            *("--url", engine.address, "--model", "sim", "--workload", "embeddings", "--clients", "2"),
            *("--seconds", "0.3", "--warm-up", "0"),
        )
    assert code == 0
    assert "e2el" in out
    assert "ttft" not in out


async def test_nobody_answers(tmp_path: Path) -> None:
    code, out, _ = await bench("--url", f"unix:{tmp_path}/x", "--model", "m", "--rate", "5", "--seconds", "1")
    assert code == 1
    assert "The engine refused the connection" in out


def test_a_trace_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "m", "--trace", str(tmp_path / "none.jsonl")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_trace_says_what_is_asked_and_when(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.0000000,5,2\n2023-11-16 18:17:05.0000000,6,3\n"
    )
    asks, moments = plan(parser().parse_args(["--model", "m", "--trace", str(trace), "--scale", "0.5"]))
    assert moments == pytest.approx([0.0, 1.0])
    assert [json.loads(ask.body)["max_completion_tokens"] for ask in asks] == [2, 3]
    assert [len(json.loads(ask.body)["messages"][0]["content"].split()) for ask in asks] == [5, 6]


def test_constant_arrivals_and_leaving_clients() -> None:
    options = ["--model", "m", "--rate", "2", "--arrivals", "constant", "--seconds", "2", "--leave", "1"]
    asks, moments = plan(parser().parse_args(options))
    assert moments == [0.0, 0.5, 1.0, 1.5]
    assert all(ask.leave_after is not None for ask in asks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "0 is not a positive number"),
        (["--rate", "1", "--clients", "1"], "not allowed with"),
        ([], "one of the arguments --rate --clients --trace is required"),
        (["--clients", "0"], "0 is not a number of at least 1"),
        (["--rate", "1", "--leave", "2"], "2 is not a share between 0 and 1"),
        (["--rate", "1", "--slo", "speed=1"], "'speed=1' is not an objective"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--model", "m", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
