"""The simulator as a process of its own."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtest.simulator.__main__ import main
from tests.kit.eventually import PATIENCE
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start the simulator and yield it with its address, once it listens."""
    command = [sys.executable, "-m", "loadtest.simulator", *arguments]
    started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert started.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = (await started.stdout.readline()).decode()
        yield started, line.split()[-1]
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGTERM)
        await started.communicate()


async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    async with process("--uds", str(path), "--model", "mine", "--ttft", "0.001") as (started, address):
        assert address == f"unix:{path}"
        async with await Wire.connect_to(address) as wire:
            await wire.request("POST", "/v1/embeddings", {"model": "mine", "input": "a"})
            assert (await wire.response()).status == 200
        started.send_signal(signal.SIGTERM)
        assert await started.wait() == 0
    assert not path.exists()


async def test_a_crash_is_the_end_of_the_process(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"crash_after": 0}')
    async with process("--port", "0", "--faults", str(faults)) as (started, address):
        async with await Wire.connect_to(address) as wire:
            await wire.request("POST", "/v1/embeddings", {"input": "a"})
            await wire.closed()
        assert await started.wait() == 1


async def test_faults_that_do_not_exist_are_said_at_once(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"crash": 0}')
    command = [sys.executable, "-m", "loadtest.simulator", "--port", "0", "--faults", str(faults)]
    started = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await started.communicate()
    assert started.returncode == 2
    assert said.decode().endswith(f"argument --faults: {faults}: no such fault: crash\n")


async def test_a_reset_reaches_the_client_under_uvloop_too(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"cut_after": 2, "cut": "reset"}')
    async with process("--port", "0", "--faults", str(faults)) as (_, address), await Wire.connect_to(address) as wire:
        await wire.request("POST", "/v1/completions", {"prompt": "a", "stream": True})
        received = await wire.rest()
        assert received.count(b"data: ") == 2


async def test_an_engine_can_be_modelled_and_made_faster() -> None:
    arguments = ["--port", "0", "--profile", "smollm2-135m-cpu", "--speed", "1000", "--num-blocks", "99"]
    async with process(*arguments) as (_, address), await Wire.connect_to(address) as wire:
        await wire.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 2})
        assert (await wire.response()).status == 200
        await wire.request("GET", "/metrics")
        assert b'block_size="128",enable_prefix_caching="True",num_gpu_blocks="99"' in (await wire.response()).body


async def test_it_can_answer_at_once_at_many_addresses() -> None:
    async with process("--port", "0", "--instant", "--hosts", "3") as (_, address):
        port = address.rpartition(":")[2]
        async with await Wire.connect_to(f"http://127.0.0.3:{port}") as wire:
            await wire.request("POST", "/v1/chat/completions", {})
            assert (await wire.response()).json["id"] == "chatcmpl-instant"


async def test_it_can_write_whole_streams_and_names_its_model() -> None:
    arguments = ["--port", "0", "--instant", "--at-once", "--model", "m", "--ttft", "0", "--inter-token", "0"]
    async with process(*arguments) as (_, address), await Wire.connect_to(address) as wire:
        await wire.request("GET", "/v1/models")
        assert (await wire.response()).json["data"][0]["id"] == "m"
        await wire.request("POST", "/v1/chat/completions", {"stream": True, "max_tokens": 9})
        assert len((await wire.response()).events) == 11


async def test_it_takes_adapters_where_it_is_told_to(tmp_path: Path) -> None:
    async with process("--port", "0", "--enable-lora") as (_, address), await Wire.connect_to(address) as wire:
        await wire.request("POST", "/v1/load_lora_adapter", {"lora_name": "sql", "lora_path": str(tmp_path)})
        assert (await wire.response()).status == 200
        await wire.request("GET", "/v1/models")
        assert [each["id"] for each in (await wire.response()).json["data"]] == ["sim", "sql"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--port 65536", "--port: '65536' is not a port; expected a number from 0 to 65535"),
        ("--port 0 --ttft nan", "--ttft: 'nan' is not a number of seconds"),
        ("--port 0 --inter-token -1", "--inter-token: '-1' is not a number of seconds"),
        ("--port 0 --max-num-seqs 0", "--max-num-seqs: 0 is not a number of at least 1"),
        ("--port 0 --max-model-len x", "--max-model-len: 'x' is not a whole number"),
        ("--port 0 --profile gpu-8b --speed 0", "--speed: 0 is not a positive number"),
        ("--port 0 --profile gpu-8b --ttft 1", "--ttft: it changes nothing with --profile"),
        ("--port 0 --speed 2", "--speed: it changes nothing without --profile"),
        ("--port 0 --hosts 2", "--hosts: it changes nothing without --instant"),
        ("--port 0 --instant --enable-lora", "--enable-lora: it changes nothing with --instant"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_file_in_the_place_of_its_socket_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("precious")
    with pytest.raises(SystemExit) as ended:
        main(["--uds", str(file)])
    assert str(ended.value).startswith(f"cannot listen on {file}: ")
    assert file.read_text() == "precious"


def test_an_instant_engine_needs_a_port(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--uds", "/tmp/s", "--instant"])
    assert "--instant listens on a port" in capsys.readouterr().err
