"""Another project's gateway runs from its first answer on, and nothing of it is left."""

import asyncio
import os
import socket
import sys

import pytest

from loadtest.bench.cores import cores
from loadtest.bench.deployment import DidNotStart, Plan
from loadtest.bench.serving import free_port, serving
from tests.kit.wire import Wire

PLAN = Plan()


def listens(port: int) -> bool:
    """Tell whether anybody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0


@pytest.mark.slow
async def test_it_serves_on_the_gateways_core_and_leaves_no_child() -> None:
    port = free_port()
    # The shell is the process that is started, what answers is its child.
    command = f"{sys.executable} -m loadtest.simulator --instant --port {port} --ttft 0 --inter-token 0; true"
    async with serving(["sh", "-c", command], port, PLAN) as running:
        assert running.address == f"http://127.0.0.1:{port}"
        assert os.sched_getaffinity(running.pid) == cores()[1]
        async with await Wire.connect_to(running.address) as wire:
            await wire.request("POST", "/v1/chat/completions", {})
            assert (await wire.response()).status == 200
        assert running.resident_bytes > 10_000_000
    assert running.resident_bytes == 0
    async with asyncio.timeout(10):
        while listens(port):  # noqa: ASYNC110 - another process tells no event
            await asyncio.sleep(0.01)


async def test_what_it_said_last_is_told_when_it_ends_early() -> None:
    with pytest.raises(DidNotStart, match="sh ended with status 3: no license"):
        async with serving(["sh", "-c", "echo starting; echo no license >&2; exit 3"], free_port(), PLAN):
            pass


async def test_one_that_never_answers_did_not_start() -> None:
    with pytest.raises(DidNotStart, match=r"sh does not answer after 0 s: it said nothing"):
        async with serving(["sh", "-c", "exec sleep 60"], free_port(), PLAN, patience=0.1):
            pass
