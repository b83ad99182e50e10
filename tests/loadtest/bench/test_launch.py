"""A process runs from its first sign of life on, and nothing of it is left."""

import asyncio
import os
import re
import socket
import sys
from pathlib import Path

import pytest

from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.launch import DidNotStart, Server, free_port, launched, python
from tests.kit.eventually import PATIENCE

CPUS = load_and_gateway_cpus()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def never() -> bool:
    return False


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0


@pytest.mark.slow
async def test_what_it_wrote_is_found_and_it_runs_where_it_should(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo in $PWD with $COLOUR; exec sleep 60"]
    async with launched(command, CPUS, folder=tmp_path, environment={"COLOUR": "red"}) as process:
        found = await process.until_written(re.compile(r"in (\S+) with (\S+)"))
        assert (found[1], found[2]) == (str(tmp_path), "red")
        assert os.sched_getaffinity(process.pid) == CPUS
        assert repr(process) == f"<Process sh {process.pid} running>"
    assert repr(process) == f"<Process sh {process.pid} ended with status -15>"


@pytest.mark.slow
async def test_it_may_write_more_than_a_pipe_holds() -> None:
    command = [sys.executable, "-c", "print('x' * 1_000_000, flush=True); print('done', flush=True); input()"]
    async with launched(command, CPUS, grace=0.0) as process:
        assert await process.until_written(re.compile(r"^done$", re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("grace", [0.0, 20.0])
async def test_nothing_that_it_started_is_left(grace: float) -> None:
    port = free_port()
    # The shell is the process that is started, what listens is its child.
    command = ["sh", "-c", " ".join(python("loadtest.simulator", "--instant", "--port", str(port))) + "; true"]
    async with launched(command, CPUS, grace=grace) as process:
        server = Server(f"http://127.0.0.1:{port}", process.pid)

        async def listening() -> bool:
            return listens(port)

        await process.until_ready(listening)
        assert repr(server) == f"<Server at http://127.0.0.1:{port}>"
        assert server.resident_bytes > 10_000_000
        assert server.cpu_seconds > 0
    assert server.resident_bytes == 0
    async with asyncio.timeout(PATIENCE):
        while listens(port):  # noqa: ASYNC110 - another process tells no event
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_one_that_does_not_end_when_asked_is_killed() -> None:
    async with launched(["sh", "-c", "trap '' TERM; echo up; sleep 60; sleep 60"], CPUS, grace=0.2) as process:
        await process.until_written(re.compile("up"))
    assert "ended with status -9" in repr(process)


@pytest.mark.slow
async def test_the_last_line_is_told_when_it_ends_early() -> None:
    fails = ["sh", "-c", "echo starting; echo no license >&2; exit 3"]
    for wait in ("until_written", "until_ready"):
        with pytest.raises(DidNotStart, match=r"^sh ended with status 3: no license$"):
            async with launched(fails, CPUS) as process:
                await (
                    process.until_written(re.compile("ready"))
                    if wait == "until_written"
                    else process.until_ready(never)
                )


@pytest.mark.slow
async def test_one_that_is_never_ready_did_not_start() -> None:
    with pytest.raises(DidNotStart, match=r"^sleep is not ready after 0 s: it wrote nothing$"):
        async with launched(["sleep", "60"], CPUS) as process:
            await process.until_ready(never, patience=0.1)
    with pytest.raises(DidNotStart, match=r"^sleep is not ready after 0 s: it wrote nothing$"):
        async with launched(["sleep", "60"], CPUS) as process:
            await process.until_written(re.compile("ready"), patience=0.1)
