"""The client leaving aborts the work of a real vLLM, whatever it had asked for and however far the answer was."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.e2e.conftest import HANGING_SECONDS, Served
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m"
ENDLESS: dict[str, Any] = {"model": CHAT, "max_tokens": 1900, "ignore_eos": True}
TALK = [{"role": "user", "content": "Tell me a story."}]


def address_of_vllm(served: Served) -> str:
    """Learn from the gateway where vLLM listens."""
    replicas: Any = served.status()[CHAT]["replicas"]
    return str(replicas[0]["address"])


async def running_and_waiting(vllm: str) -> float:
    """Ask vLLM itself how many requests it works on."""
    async with await Wire.connect_to(vllm, timeout=HANGING_SECONDS) as wire:
        await wire.request("GET", "/metrics")
        text = (await wire.response()).body.decode()
    return sum(float(n) for n in re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, re.MULTILINE))


async def until(served: Served, count: int, asked: Wire | None = None) -> None:
    """Look at vLLM's gauges until they say ``count``; if they never do, tell what was answered to whoever ``asked``."""
    seen: list[float] = []
    vllm = address_of_vllm(served)
    try:
        async with asyncio.timeout(HANGING_SECONDS):
            while not seen or seen[-1] != count:
                seen.append(await running_and_waiting(vllm))
                await asyncio.sleep(0.02)
    except TimeoutError:
        answered = await asked.heard() if asked is not None else b""
        raise AssertionError(
            f"vLLM never worked on {count}, but on {sorted(set(seen))}; answered: {answered!r}; {served.status()}"
        ) from None


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", ENDLESS | {"messages": TALK}),
        ("/v1/completions", ENDLESS | {"prompt": "Once upon a time"}),
        ("/v1/responses", {"model": CHAT, "input": "Tell me a story.", "max_output_tokens": 1900, "ignore_eos": True}),
        ("/v1/messages", {"model": CHAT, "messages": TALK, "max_tokens": 1900}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_running_is_aborted(served: Served, path: str, body: dict[str, Any], stream: bool) -> None:
    await until(served, 0)
    async with await Wire.connect_to(served.address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", path, body | {"stream": stream})
        await until(served, 1, asked=wire)
        if stream:
            await anext(wire.events())
    await until(served, 0)


async def test_what_waits_at_the_engine_is_aborted_too(served: Served) -> None:
    """vLLM takes 64 sequences at a time here; a request for 65 leaves one waiting."""
    await until(served, 0)
    async with await Wire.connect_to(served.address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", "/v1/completions", ENDLESS | {"prompt": "Once", "n": 65})
        await until(served, 65, asked=wire)
    await until(served, 0)
