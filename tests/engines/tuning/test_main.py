"""The tuning server as a process: it holds its folder, serves until it is asked to end, and refuses a second one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from engines.ray.cluster import RayCluster
from engines.tuning.__main__ import main
from engines.tuning.launcher import hold, in_use
from tests.kit.eventually import PATIENCE, eventually
from tests.kit.ray_jobs import fake_ray
from tests.kit.tuning import order, settings, weights

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        (Path(path) / "tuning").mkdir()
        yield Path(path)


def arguments(folder: Path, **other: Any) -> list[str]:
    return ["--uds", str(folder / "s.sock"), "--settings", msgspec.json.encode(settings(folder, **other)).decode()]


@asynccontextmanager
async def serving(arguments: list[str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Run a server, and kill it in the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "engines.tuning", *arguments)
    try:
        async with (
            aiohttp.ClientSession("http://tuning", connector=aiohttp.UnixConnector(arguments[1])) as http,
            asyncio.timeout(300),
        ):
            while True:
                with suppress(aiohttp.ClientError):
                    await http.get("/health")
                    break
                await asyncio.sleep(0.01)
            yield http
    finally:
        process.kill()
        await process.wait()


async def status_of(http: aiohttp.ClientSession, job_id: str) -> str:
    async with http.get(f"/jobs/{job_id}") as answer:
        return str((await answer.json())["status"])


def test_it_serves_until_it_is_asked_to_end(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "engines.tuning", *arguments(folder)])
    try:
        wait_for = "import socket, sys, time\n" + (
            "while True:\n"
            "    try:\n"
            "        s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); break\n"
            "    except OSError: time.sleep(0.01)\n"
            "s.sendall(b'GET /health HTTP/1.0\\r\\n\\r\\n'); print(s.recv(100).decode())\n"
        )
        said = subprocess.run(
            [sys.executable, "-S", "-c", wait_for, str(folder / "s.sock")],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        assert " 200 " in said.stdout
        assert in_use(folder / "tuning")
        assert (folder / "s.sock").stat().st_mode & 0o077 == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert not in_use(folder / "tuning")


async def test_one_that_is_killed_is_followed_by_one_that_finds_its_jobs_on_the_cluster(folder: Path) -> None:
    weights(folder)
    async with fake_ray() as ray:
        told = arguments(folder, ray=RayCluster(ray.url, poll=0.01), jobs=2)
        async with serving(told) as http:
            ids = []
            for _ in range(2):
                async with http.post("/jobs", data=msgspec.json.encode(order(folder))) as answer:
                    ids.append((await answer.json())["id"])
            await eventually(lambda: len(ray.states("RUNNING")) == 2)
            name_of = {asked["metadata"]["headgate_training"]: name for name, asked in ray.jobs.items()}
            # The head is away when one of them is paused, so that the server is killed before it can stop it.
            await ray.leave()
            await http.post(f"/jobs/{ids[1]}/pause")
        await ray.start()
        async with serving(told) as http:
            await eventually(lambda: ray.states("STOPPED") == [name_of[ids[1]]])
            assert [await status_of(http, each) for each in ids] == ["running", "paused"]
            asked = len(ray.asked)
            await eventually(lambda: len(ray.asked) > asked + 3)
        assert ray.states("RUNNING") == [name_of[ids[0]]]
        assert len(ray.jobs) == 2


def test_a_second_one_for_the_same_folder_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = hold(folder / "tuning")
    try:
        assert main(arguments(folder)) == 1
    finally:
        os.close(held)
    assert f"the tuning folder {folder / 'tuning'} cannot be held" in capsys.readouterr().err


def test_settings_that_are_none_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--uds", str(folder / "s"), "--settings", "{}"])
    assert "--settings: " in capsys.readouterr().err
