"""Two real vLLMs, one of which is killed in the middle of a stream: the client gets what it would have got.

The answers are greedy. In another batch or behind another prefill a sum may be rounded in another way, which decides
where two tokens are about equally likely; so these are prompts to which both replicas answer the same, and go on so.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import HANGING_SECONDS, ROOT, Served, serving
from tests.kit.wire import Wire, WireError

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
CHAT = {"messages": [{"role": "user", "content": "Write a short story about a lighthouse keeper."}]}
PROMPT = {"prompt": "The lighthouse stood on a rock in the sea, and its keeper"}
GREEDY: dict[str, Any] = {
    "model": MODEL,
    "temperature": 0,
    "max_tokens": 60,
    "stream": True,
    "stream_options": {"include_usage": True},
}
KILLED_AFTER = 20
"""Events."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start two replicas of the default configuration's language model."""
    text = (ROOT / "models.toml").read_text().split("[models.prompt-guard]")[0]
    config = tmp_path_factory.mktemp("two") / "models.toml"
    config.write_text(text.replace('engine = "vllm"\n', 'engine = "vllm"\nreplicas = 2\n'))
    with serving(config) as served:
        yield served


def replicas_of(served: Served) -> list[dict[str, Any]]:
    found: Any = served.status()[MODEL]["replicas"]
    return list(found)


def server_of(address: str) -> int:
    """Find the process of vLLM's server by the socket in its command line."""
    socket = address.removeprefix("unix:").encode()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")
        except OSError:
            continue  # It has ended meanwhile.
        if socket in words and b"vllm.entrypoints.openai.api_server" in words and b"-I" not in words:
            return int(command.parent.name)
    raise AssertionError(f"no process serves {address}")


def core_of(server: int) -> int:
    """Find the process of the engine's core, which is a child of the server."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue  # It has ended meanwhile.
        name, fields = rest.rsplit(") ", 1)
        if fields.split()[1] == str(server) and name.startswith("VLLM::"):
            return int(pid)
    raise AssertionError(f"the server {server} has no core")


def text_of(events: list[Any]) -> str:
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(choice["text"] if "text" in choice else choice["delta"].get("content") or "" for choice in choices)


def usage_of(events: list[Any]) -> list[Any]:
    return [event["usage"] for event in events if event.get("usage")]


def data_of(lines: list[bytes]) -> list[Any]:
    """Read the events of a whole stream, but for comments and its end marker."""
    assert lines[-1] == b"data: [DONE]"
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1] if line.startswith(b"data: ")]


async def answered(address: str, path: str, body: dict[str, Any]) -> list[Any]:
    """Ask for a stream, and return the data of its events."""
    async with await Wire.connect_to(address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", path, body)
        return data_of((await wire.response()).events)


async def well(served: Served) -> list[str]:
    """Return the addresses of the replicas that answer; the gateway may not know yet of the death of one."""
    found = []
    for replica in replicas_of(served):
        try:
            async with await Wire.connect_to(replica["address"], timeout=HANGING_SECONDS) as wire:
                await wire.request("GET", "/health")
                if (await wire.response()).status == 200 and replica["ready"]:
                    found.append(replica["address"])
        except (OSError, WireError):
            continue
    return found


async def both(served: Served) -> list[str]:
    """Wait until both are well: the one that the test before has killed may still be starting again."""
    async with asyncio.timeout(HANGING_SECONDS):
        while len(addresses := await well(served)) < 2:  # noqa: ASYNC110 - other processes have no event
            await asyncio.sleep(0.2)
    return addresses


@pytest.mark.parametrize(
    ("path", "asked", "killed"),
    [("/v1/chat/completions", CHAT, "core"), ("/v1/completions", PROMPT, "server")],
    ids=["chat", "completions"],
)
async def test_an_unbroken_answer_although_its_engine_is_killed(
    two: Served, path: str, asked: dict[str, Any], killed: str
) -> None:
    body = GREEDY | asked
    unbroken = [await answered(address, path, body) for address in await both(two)]
    assert text_of(unbroken[0]) == text_of(unbroken[1])
    lines: list[bytes] = []
    async with await Wire.connect_to(two.address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", path, body)
        async for line in wire.events():
            lines.append(line)
            if len(lines) == KILLED_AFTER:
                (busy,) = [each for each in replicas_of(two) if each["in_flight"]]
                server = server_of(busy["address"])
                os.kill(server if killed == "server" else core_of(server), signal.SIGKILL)
    assert lines[-2:] == [b": headgate recovered 1", b"data: [DONE]"]
    got = data_of(lines)
    assert text_of(got) == text_of(unbroken[0])
    assert usage_of(got) == usage_of(unbroken[0])
    assert {(event["id"], event["created"], event["model"]) for event in got} == {
        (got[0]["id"], got[0]["created"], MODEL)
    }
    assert [choice["finish_reason"] for event in got for choice in event["choices"] if choice["finish_reason"]] == [
        "length"
    ]
