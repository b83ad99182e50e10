"""Files in a gateway that is a process: what they cost in memory, and what is left when it or its disk gives way."""

from __future__ import annotations

import asyncio
import re
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.gateway.api.local.forms import BOUNDARY, form
from tests.gateway.cli.processes import running, says
from tests.kit.eventually import eventually
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow

MEBIBYTE = 1024 * 1024
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
CONFIG = """\
[gateway]
listen = "127.0.0.1:0"
control = "127.0.0.1:0"
access_log = "off"
processes = {processes}
[gateway.files]
folder = "{folder}"
[models.m]
engine = "remote"
urls = ["http://127.0.0.1:1"]
required = false
"""


class Served:
    """A gateway in a process of its own, and what a test asks of it."""

    def __init__(self, address: str, process: asyncio.subprocess.Process, http: httpx.AsyncClient) -> None:
        self.address = address
        self.process = process
        self._http = http

    def resident(self) -> int:
        """Return how much memory the process holds, in bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    async def upload(self, size: int, *, purpose: str = "user_data", connection: str = "keep-alive") -> httpx.Response:
        """Upload a file of so many bytes, which are written as they are sent."""
        beginning, _, end = form(b"CONTENT", purpose=purpose).partition(b"CONTENT")

        async def body() -> AsyncIterator[bytes]:
            yield beginning
            for at in range(0, size, MEBIBYTE):
                yield bytes(min(MEBIBYTE, size - at))
            yield end

        headers = HEADERS | {"connection": connection}
        return await self._http.post(f"{self.address}/v1/files", content=body(), headers=headers)

    async def listed(self) -> list[str]:
        """Return the ids of all files."""
        answer = await self._http.get(f"{self.address}/v1/files", headers={"connection": "close"})
        return [each["id"] for each in answer.json()["data"]]

    async def delete(self, file_id: str) -> int:
        """Delete a file."""
        return (await self._http.delete(f"{self.address}/v1/files/{file_id}")).status_code

    async def download(self, file_id: str) -> int:
        """Read a file, and return how long it is."""
        length = 0
        async with self._http.stream("GET", f"{self.address}/v1/files/{file_id}/content") as answer:
            async for piece in answer.aiter_raw():
                length += len(piece)
        return length


@asynccontextmanager
async def serving(tmp_path: Path, folder: Path, processes: int = 1) -> AsyncIterator[Served]:
    config = tmp_path / "models.toml"
    config.write_text(CONFIG.format(folder=folder, processes=processes))
    async with running("gateway", "serve", "--config", str(config), cwd=tmp_path) as process:
        address = (await says(process, r"serves at (\S+) "))[1]
        async with httpx.AsyncClient(timeout=120) as http:
            yield Served(address, process, http)


def disk(folder: Path) -> list[str]:
    return sorted(f"{each.parent.name}/{each.name[:5]}" for each in folder.glob("*/*"))


async def test_a_large_file_costs_no_memory(tmp_path: Path) -> None:
    async with serving(tmp_path, tmp_path / "f") as served:
        await served.upload(MEBIBYTE)
        before, most = served.resident(), 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, served.resident())
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        answer = await served.upload(512 * MEBIBYTE - 1)
        assert (answer.status_code, answer.json()["bytes"]) == (200, 512 * MEBIBYTE - 1)
        assert await served.download(answer.json()["id"]) == 512 * MEBIBYTE - 1
        watching.cancel()
        assert most - before < 32 * MEBIBYTE, f"{(most - before) / MEBIBYTE:.1f} MiB more"


async def test_a_gateway_that_is_killed_loses_nothing_but_what_was_being_sent(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    async with serving(tmp_path, folder) as served:
        kept = (await served.upload(1_000)).json()["id"]
        half = form(bytes(100_000), purpose="evals")
        async with await Wire.connect_to(served.address) as wire:
            await wire.send(
                b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
                % (HEADERS["content-type"].encode(), len(half))
                + half[:-10_000]
            )
            await eventually(lambda: disk(folder) == ["drafts/draft", "files/file-"])
            served.process.kill()
            await served.process.wait()
            assert disk(folder) == ["drafts/draft", "files/file-"]
            await wire.closed()
    async with serving(tmp_path, folder) as served:
        await eventually(lambda: disk(folder) == ["files/file-"])
        assert await served.listed() == [kept]
        assert await served.download(kept) == 1_000


async def test_several_processes_share_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    async with serving(tmp_path, folder, processes=4) as served:
        # Each on a connection of its own, so that all processes have some.
        answers = await asyncio.gather(*(served.upload(100_000 + n, connection="close") for n in range(40)))
        sizes = {answer.json()["id"]: answer.json()["bytes"] for answer in answers}
        assert sorted(sizes.values()) == [100_000 + n for n in range(40)]
        for _ in range(8):
            assert set(await served.listed()) == sizes.keys()
        assert await asyncio.gather(*map(served.download, sizes)) == list(sizes.values())
        assert await asyncio.gather(*map(served.delete, sizes)) == [200] * 40
        assert await served.listed() == []
        assert disk(folder) == []


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Make a disk of 8 MiB, and tell whether that was possible: it takes the right to mount one."""
    folder.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_a_507_and_leaves_nothing_half(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as mounted:
        folder = tmp_path / "disk" / "f"
        async with serving(tmp_path, folder) as served:
            if not mounted:
                resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (6 * MEBIBYTE, resource.RLIM_INFINITY))
            kept = (await served.upload(5 * MEBIBYTE)).json()["id"]
            for _ in range(3):
                answer = await served.upload(7 * MEBIBYTE)
                assert (answer.status_code, answer.json()["error"]["code"]) == (507, "insufficient_storage")
                assert disk(folder) == ["files/file-"]
            assert await served.listed() == [kept]
            assert await served.download(kept) == 5 * MEBIBYTE
            assert await served.delete(kept) == 200
            assert (await served.upload(5 * MEBIBYTE)).status_code == 200
            served.process.terminate()
            assert await served.process.wait() == 0
