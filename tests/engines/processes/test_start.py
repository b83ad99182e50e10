"""A process that is started has an owner, or is gone."""

from __future__ import annotations

import asyncio
import os

import pytest

from engines.processes.start import start_process
from gateway.core.tasks import cancelled
from tests.kit.leaks import nothing_left


async def test_a_process_has_a_session_of_its_own() -> None:
    # It waits for the end of its input, and so is there to be looked at.
    process = await start_process("sh", "-c", "cat; exit 7", stdin=asyncio.subprocess.PIPE)
    assert os.getsid(process.pid) == process.pid
    await process.communicate(b"")
    assert process.returncode == 7


async def test_what_is_cancelled_while_it_starts_leaves_nothing_running() -> None:
    read, write = os.pipe()
    async with nothing_left():
        # Until its last process has ended, the other end of the pipe is open.
        command = start_process("sh", "-c", "sleep 600 & wait", stdin=asyncio.subprocess.PIPE, pass_fds=(write,))
        starting = asyncio.ensure_future(command)
        await asyncio.sleep(0)
        await cancelled([starting])
        assert starting.cancelled()
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 1) == b""
    os.close(read)


async def test_a_command_that_there_is_not_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        await start_process("/there/is/no/such/command")
