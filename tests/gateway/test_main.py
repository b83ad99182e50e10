"""The command line, run as a person runs it: in a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.__main__ import main
from tests.kit.scripted import events, scripted_engine
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
REMOTE = '[gateway]\nlisten = "127.0.0.1:0"\ncontrol = "127.0.0.1:0"\n[models.m]\nengine = "remote"\nurls = ["{url}"]\n'


def headgate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


@asynccontextmanager
async def running(*arguments: str, cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module as a process, and end it if the test does not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def says(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    """Read until a line matches."""
    assert process.stdout is not None
    heard = []
    async with asyncio.timeout(60):
        async for line in process.stdout:
            heard.append(line.decode())
            if match := re.search(pattern, heard[-1]):
                return match
    raise AssertionError(f"it never said {pattern!r}, but {''.join(heard)}")


def test_help_teaches_by_example(tmp_path: Path) -> None:
    told = headgate("--help", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    for command in ("serve", "check", "models", "quantize", "key", "bench"):
        assert f"  headgate {command}" in told.stdout
    assert "--listen HOST:PORT" in headgate("serve", "--help", cwd=tmp_path).stdout


def test_version(tmp_path: Path) -> None:
    assert headgate("--version", cwd=tmp_path).stdout == f"headgate {importlib.metadata.version('headgate')}\n"


@pytest.mark.parametrize("arguments", [[], ["dance"], ["serve", "--port", "1"]], ids=str)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: headgate" in capsys.readouterr().err


def test_check_of_a_valid_file_is_0_and_names_the_models(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(REMOTE.format(url="http://a"))
    told = headgate("check", cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, "models.toml is valid: m (remote)\n", "")


def test_check_of_a_wrong_file_is_2_and_tells_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[gateway]\nlisen = "a"\n[models.m]\nengine = "remote"\nreplicas = 2\n')
    told = headgate("check", "a.toml", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines() == [
        "a.toml:2: gateway.lisen: is not an option; did you mean 'listen'?",
        "a.toml:3: models.m.urls: is missing; expected: one address per replica: `http://`, `https://` or `unix:PATH`, "
        "with the base path of its API if it has one",
        'a.toml:5: models.m.replicas: is an option of engine = "vllm" or "onnx", not of "remote"',
    ]


@pytest.mark.parametrize("command", ["serve", "models"])
def test_every_command_refuses_a_wrong_file(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--config", str(tmp_path / "none.toml")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_models_with_nothing_to_fetch_is_0(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(REMOTE.format(url="http://a"))
    assert main(["models", "--config", str(path)]) == 0


def test_models_that_cannot_be_fetched_are_1_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f'[models.m]\nengine = "onnx"\ntasks = ["embed"]\nsource = "{tmp_path}/none"\n')
    assert main(["models", "--config", str(path)]) == 1
    assert "s] m: failed: " in capsys.readouterr().out


def test_models_that_ask_for_gpus_that_are_not_there_are_1_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    path = tmp_path / "models.toml"
    path.write_text('[models.m]\nengine = "vllm"\nsource = "a/b"\ngpus = 2\n')
    assert main(["models", "--config", str(path)]) == 1
    assert "headgate: The models ask for 2 GPUs" in capsys.readouterr().err


def test_a_new_key_comes_with_its_entry(tmp_path: Path) -> None:
    told = headgate("key", "alice", cwd=tmp_path).stdout
    secret = told.splitlines()[0].rpartition(" ")[2]
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", secret)
    (entry,) = tomllib.loads(told[told.index("[[") :])["gateway"]["keys"]
    assert entry == {"id": "alice", "sha256": hashlib.sha256(secret.encode()).hexdigest()}
    assert f"\nalice {entry['sha256']}\n" in told


def test_an_id_that_no_key_may_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["key", 'a"b'])
    assert ended.value.code == 2
    assert "letters, digits" in capsys.readouterr().err


async def test_serve_serves_until_sigterm_and_ends_cleanly(tmp_path: Path) -> None:
    async with running("loadtest.simulator", "--port", "0", "--model", "m", cwd=tmp_path) as engine:
        url = (await says(engine, r"listens on (\S+)"))[1]
        (tmp_path / "models.toml").write_text(REMOTE.format(url=url))
        async with running("gateway", "serve", cwd=tmp_path) as served:
            address = (await says(served, r"Headgate serves at (\S+)"))[1]
            async with await Wire.connect_to(address) as wire:
                await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "max_tokens": 2})
                assert (await wire.response()).json["usage"]["completion_tokens"] == 2
            served.send_signal(signal.SIGTERM)
            rest, _ = await served.communicate()
            assert served.returncode == 0, rest.decode()
            assert b"stopping; a second signal ends everything at once" in rest
            assert re.search(rb'"status":200,.*"path":"/v1/completions"', rest)
            assert b"Traceback" not in rest


async def test_a_gateway_whose_standard_streams_are_closed_serves_all_the_same(tmp_path: Path) -> None:
    async with scripted_engine() as engine:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        (tmp_path / "models.toml").write_text(REMOTE.format(url=engine.url).replace("127.0.0.1:0", address, 1))
        closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "gateway", "serve"]
        served = await asyncio.create_subprocess_exec(*closed, cwd=tmp_path, env=ENVIRONMENT)
        try:
            await engine.asked()  # Its health, by a gateway that listens.
            async with await Wire.connect_to(f"http://{address}") as wire:
                await wire.request("GET", "/version")
                assert (await wire.response()).status == 200
        finally:
            served.terminate()
            assert await served.wait() == 0


async def test_more_clients_come_than_the_shell_allows_files(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "models.toml").write_text(
        REMOTE.format(url="http://127.0.0.1:1").replace("127.0.0.1:0", address, 1) + "required = false\n"
    )
    few = ["sh", "-c", 'ulimit -S -n 64; exec "$@"', "sh", sys.executable, "-m", "gateway", "serve"]
    served = await asyncio.create_subprocess_exec(
        *few, cwd=tmp_path, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        await says(served, "Headgate serves at")
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(await Wire.connect_to(f"http://{address}")) for _ in range(100)]
            for wire in wires:
                await wire.request("GET", "/version")
                assert (await wire.response()).status == 200
    finally:
        served.terminate()
        await served.communicate()


@asynccontextmanager
async def streaming(folder: Path, seconds_per_token: float) -> AsyncIterator[tuple[asyncio.subprocess.Process, Wire]]:
    """Serve in a process, with a stream of four tokens under way."""
    slow = ("--port", "0", "--model", "m", "--inter-token", str(seconds_per_token))
    async with running("loadtest.simulator", *slow, cwd=folder) as engine:
        url = (await says(engine, r"listens on (\S+)"))[1]
        (folder / "models.toml").write_text(REMOTE.format(url=url))
        async with running("gateway", "serve", cwd=folder) as served:
            address = (await says(served, r"Headgate serves at (\S+)"))[1]
            async with await Wire.connect_to(address) as wire:
                asked = {"model": "m", "prompt": "a", "max_tokens": 4, "stream": True}
                await wire.request("POST", "/v1/completions", asked)
                assert (await wire.head()).status == 200
                yield served, wire


async def test_sigterm_lets_what_is_under_way_finish(tmp_path: Path) -> None:
    async with streaming(tmp_path, 0.2) as (served, wire):
        served.send_signal(signal.SIGTERM)
        await says(served, "stopping")
        seen = [event async for event in wire.events()]
        assert seen[-1] == b"data: [DONE]"
        assert not any(b'"error"' in event for event in seen)
        await served.communicate()
        assert served.returncode == 0


async def test_sigterm_lets_a_slow_reader_have_the_rest_of_its_answer(tmp_path: Path) -> None:
    event = b"data: " + b"x" * 15_000_000
    async with scripted_engine() as engine:
        (tmp_path / "models.toml").write_text(REMOTE.format(url=engine.url))
        async with running("gateway", "serve", cwd=tmp_path) as served:
            address = (await says(served, r"Headgate serves at (\S+)"))[1]
            async with await Wire.connect_to(address, limit=2**16) as wire:
                # The end of the event comes in one read with the end of the stream, so the engine is done at once.
                engine.answer = events(event, b"\n\ndata: [DONE]\n\n")
                await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "stream": True})
                await engine.said_so_far()
                engine.go_on()
                await says(served, r'"status":200,.*"path":"/v1/completions"')
                served.send_signal(signal.SIGTERM)
                await says(served, "stopping")
                assert [each async for each in wire.events()] == [event, b"data: [DONE]"]
                await served.communicate()
                assert served.returncode == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with streaming(tmp_path, 60.0) as (served, _):
        served.send_signal(signal.SIGTERM)
        await says(served, "stopping")
        served.send_signal(signal.SIGTERM)
        await served.communicate()
        assert served.returncode == 130


@pytest.mark.parametrize("command", ["serve", "check", "models", "key", "bench"])
def test_the_help_of_each_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"headgate {command}" in capsys.readouterr().out.partition("example")[2]


@pytest.mark.parametrize("which", ["listen", "control"])
def test_a_port_in_use_is_1_and_says_which(which: str, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(REMOTE.format(url="http://127.0.0.1:1"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = headgate("serve", f"--{which}", address, cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith(f"headgate: Cannot listen on {address} (gateway.{which}): ")
    assert "in use" in told.stderr
    assert "Traceback" not in told.stderr


def test_serve_refuses_a_wrong_address_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models.toml"
    path.write_text(REMOTE.format(url="http://127.0.0.1:1"))
    assert main(["serve", "--config", str(path), "--listen", "nowhere"]) == 2
    assert "--listen nowhere: expected HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "65", "two"])
def test_serve_refuses_a_wrong_number_of_processes(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--processes", number])
    assert ended.value.code == 2
    assert f"'{number}' is not a number from 1 to 64" in capsys.readouterr().err


def test_bench_is_the_load_test_with_all_its_options(tmp_path: Path) -> None:
    own = subprocess.run(
        [sys.executable, "-m", "loadtest", "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert headgate("bench", "--help", cwd=tmp_path).stdout == own.replace("python -m loadtest", "headgate bench")
    told = headgate("bench", "--model", "m", "--rate", "0", cwd=tmp_path)
    assert told.returncode == 2
    assert "headgate bench: error: argument --rate: 0 is not a positive number" in told.stderr
    assert "headgate bench compare: error:" in headgate("bench", "compare", cwd=tmp_path).stderr


def test_quantize_takes_only_the_onnx_models_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "models.toml"
    config.write_text(REMOTE.format(url="http://127.0.0.1:1"))
    assert main(["quantize", "m", "--config", str(config), "--data", "a.csv"]) == 2
    assert capsys.readouterr().err == f"headgate: {config} has no ONNX model 'm'; it has no ONNX models\n"


def test_quantize_works_in_a_process_of_its_own_with_what_the_configuration_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "guard").mkdir()
    config = tmp_path / "models.toml"
    config.write_text(
        '[models.guard]\nengine = "onnx"\nsource = "./guard"\ntasks = ["classify"]\nvariant = "int8"\n'
        'labels = ["fine", "nasty"]\nmax_length = 9\n'
    )
    assert main(["quantize", "guard", "--config", str(config), "--data", str(tmp_path / "absent.csv")]) == 1
    assert f"error: guard: {tmp_path}/absent.csv: cannot be read: " in capfd.readouterr().err
