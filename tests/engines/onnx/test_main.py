"""The command line: what it says when it is ready, when it cannot start, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engines.onnx.__main__ import main
from tests.engines.onnx.tiny import write_classifier, write_embedder
from tests.kit.eventually import PATIENCE
from tests.kit.wire import Response, Wire

ROOT = Path(__file__).parent.parent.parent.parent


class Engine:
    """A running process of the engine, and the line with which it said that it is ready."""

    def __init__(self, process: asyncio.subprocess.Process, ready: str) -> None:
        self.process = process
        self.ready = ready

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def engine(folder: Path, *options: str, task: str = "classify") -> AsyncIterator[Engine]:
    """Start the engine on a folder and wait until it is ready."""
    command = [sys.executable, "-m", "engines.onnx", "--model-name", "m", "--folder", str(folder), "--task", task]
    process = await asyncio.create_subprocess_exec(
        *command, *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(2 * PATIENCE):
            line = await process.stdout.readline()
        yield Engine(process, line.decode())
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def waiting_texts(wire: Wire) -> float:
    """Scrape the metrics for how many texts are in the queue."""
    await wire.request("GET", "/metrics")
    lines = (await wire.response()).body.decode().splitlines()
    return float(next(line for line in lines if "onnx_waiting_texts{" in line).rpartition(" ")[2])


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Name a socket in a folder with a short path; a Unix socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        yield Path(folder) / "s"


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the command line in this process; give its exit code and its error."""
    try:
        code = main(["--model-name", "m", *arguments])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    return code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the variable that ``main`` sets back after each test."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_when_it_is_ready_answers_and_ends_with_0(tmp_path: Path, socket_path: Path, number: int) -> None:
    options = ("--uds", str(socket_path), "--labels", "fine, nasty", "--max-length", "9", "--threads", "1")
    async with engine(write_classifier(tmp_path), *options) as running:
        assert running.ready.startswith(f"m: ready on http://unix:{socket_path}: after ")
        assert "<Classify fine, nasty>, at most 9 tokens, 1 threads, " in running.ready
        async with await Wire.connect_to(f"unix:{socket_path}") as wire:
            await wire.request("POST", "/classify", {"model": "m", "input": "bad"})
            assert (await wire.response()).json["data"][0]["label"] == "nasty"
        assert await running.stop(number) == 0


@pytest.mark.slow
async def test_truncate_cuts_what_is_too_long_unless_a_request_says_otherwise(
    tmp_path: Path, socket_path: Path
) -> None:
    async with engine(write_classifier(tmp_path), "--uds", str(socket_path), "--truncate") as running:
        async with await Wire.connect_to(f"unix:{socket_path}") as wire:
            await wire.request("POST", "/classify", {"input": "bad " * 30})
            assert (await wire.response()).json["usage"]["prompt_tokens"] == 16
            await wire.request("POST", "/classify", {"input": "bad " * 30, "truncate": False})
            assert (await wire.response()).status == 400
        assert await running.stop() == 0


@pytest.mark.slow
async def test_sigterm_lets_running_requests_finish(tmp_path: Path, socket_path: Path) -> None:
    texts = ["cat " * (1 + index % 14) for index in range(30_000)]
    async with engine(write_embedder(tmp_path), "--uds", str(socket_path), task="embed") as running:
        async with (
            await Wire.connect_to(f"unix:{socket_path}") as large,
            await Wire.connect_to(f"unix:{socket_path}") as scrape,
        ):
            large.timeout = 5 * PATIENCE

            async def ask() -> Response:
                await large.request("POST", "/v1/embeddings", {"input": texts})
                return await large.response()

            asking = asyncio.create_task(ask())
            while not await waiting_texts(scrape):
                if asking.done():  # Nobody looked while it ran.
                    asking = asyncio.create_task(ask())
            running.process.terminate()
            answer = await asking
            assert answer.status == 200
            assert len(answer.json["data"]) == len(texts)
        async with asyncio.timeout(PATIENCE):
            assert await running.process.wait() == 0


@pytest.mark.slow
async def test_a_socket_that_a_killed_process_left_is_no_obstacle(tmp_path: Path, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(socket_path))
    async with engine(write_classifier(tmp_path), "--uds", str(socket_path)) as running:
        assert running.ready.startswith("m: ready on ")
        assert await running.stop() == 0


@pytest.mark.slow
async def test_port_0_is_a_free_one(tmp_path: Path) -> None:
    async with engine(write_classifier(tmp_path), "--port", "0") as running:
        address = running.ready.split()[3]
        async with await Wire.connect_to(address) as wire:
            await wire.request("GET", "/health")
            assert (await wire.response()).status == 200
        assert await running.stop() == 0


def test_a_missing_folder_is_told_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    code, said = fails(capsys, "--folder", str(absent), "--task", "classify", "--port", "0")
    assert (code, said) == (1, f"error: m: {absent}: no such folder\n")


def test_a_model_that_does_not_fit_its_task_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, said = fails(capsys, "--folder", str(write_embedder(tmp_path)), "--task", "classify", "--port", "0")
    assert code == 1
    assert said.startswith(
        f"error: m: {tmp_path}/model.onnx: none of the outputs ['last_hidden_state'] is named logits"
    )


def test_the_answer_to_a_golden_input_is_recorded_and_then_compared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_classifier(tmp_path)
    asked = ["--model-name", "m", "--folder", str(tmp_path), "--task", "classify"]
    assert main([*asked, "--record-golden", "good"]) == 0
    assert capsys.readouterr().out == 'golden = { text = "good", answer = [0.880797, 0.119203] }\n'
    code, said = fails(capsys, *asked[2:], "--port", "0", "--golden", '{"text": "good", "answer": [0.5, 0.5]}')
    assert code == 1
    assert said == (
        f"error: m: {tmp_path}/model.onnx: the golden input 'good' is answered [0.880797, 0.119203], "
        "not [0.5, 0.5] as recorded (within 0.001)\n"
    )


@pytest.mark.parametrize(
    ("mapping", "expected", "reason"),
    [
        ("hate", 2, "argument --moderate: 'hate': expected NAME=A,B"),
        ("hat=bad", 2, "'hat' is none of OpenAI's categories"),
        ("hate=rude", 1, "moderation: 'hate' is filled by 'rude', which is none of the labels good, bad"),
    ],
)
def test_a_moderation_mapping_that_does_not_fit_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mapping: str, expected: int, reason: str
) -> None:
    folder = str(write_classifier(tmp_path))
    code, said = fails(capsys, "--folder", folder, "--task", "classify", "--port", "0", "--moderate", mapping)
    assert code == expected
    assert reason in said


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = fails(
            capsys, "--folder", str(write_classifier(tmp_path)), "--task", "classify", "--port", str(port)
        )
    assert code == 1
    assert "address already in use" in said


@pytest.mark.slow
async def test_a_socket_on_which_another_process_listens_is_left_to_it(tmp_path: Path, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(socket_path))
        taken.listen()
        async with engine(write_classifier(tmp_path), "--uds", str(socket_path)) as refused:
            assert refused.ready == ""
            assert refused.process.stderr is not None
            said = (await refused.process.stderr.read()).decode()
            assert await refused.process.wait() == 1
    assert f"another process listens on this socket: '{socket_path}'" in said


def test_what_is_in_the_way_of_the_socket_stays(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, socket_path: Path
) -> None:
    socket_path.write_text("precious")
    code, said = fails(
        capsys, "--folder", str(write_classifier(tmp_path)), "--task", "classify", "--uds", str(socket_path)
    )
    assert code == 1
    assert str(socket_path) in said
    assert socket_path.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "required: --folder, --task"),
        ("--folder f --task classify", "one of the arguments --uds --port is required"),
        ("--folder f --task classify --port 1 --uds s", "not allowed with argument"),
        ("--folder f --task generate --port 1", "invalid choice: 'generate'"),
        (
            "--folder f --task classify --port 1 --labels a,,b",
            "'a,,b': '' is no label: expected a name without a comma",
        ),
        ("--folder f --task classify --port 1 --labels a,a", "'a,a': 'a' is given twice"),
        ("--folder f --task classify --port 1 --threads 0", "0 is not 1 or more"),
        ("--folder f --task classify --port 1 --max-length many", "argument --max-length: 'many': Expected `int`"),
        ("--folder f --task classify --port 1 --golden {", "argument --golden: '{': "),
        ("--folder f --task classify --port 1 --moderation-threshold 2", "'2': Expected `float` <= 1.0"),
        ("--folder f --task classify --port 1 --thread 2", "unrecognized arguments: --thread 2"),
    ],
)
def test_a_wrong_command_line_is_told_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: str, reason: str
) -> None:
    code, said = fails(capsys, *arguments.split())
    assert code == 2
    assert reason in said


def test_help_shows_every_option_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert "python -m engines.onnx --model-name minilm" in said
    assert json.dumps(["Hello", "world"]) in said
