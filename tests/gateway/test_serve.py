"""A gateway in the foreground serves until it is told to end, whatever its shell allows and wherever it writes."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.gateway.cli.processes import ENVIRONMENT, REMOTE, running, says
from tests.kit.ports import reserved_port
from tests.kit.scripted import events, scripted_engine
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as reserved:
        yield reserved


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


async def test_a_gateway_whose_standard_streams_are_closed_serves_all_the_same(tmp_path: Path, port: int) -> None:
    async with scripted_engine() as engine:
        address = f"127.0.0.1:{port}"
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


async def test_more_clients_come_than_the_shell_allows_files(tmp_path: Path, port: int) -> None:
    address = f"127.0.0.1:{port}"
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
