"""A remote engine is asked below the base path of its address, by requests and by probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.gateway.exchange.asking import answer_to, ask
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import scripted_engine, whole


@asynccontextmanager
async def probed_engine() -> AsyncIterator[tuple[str, asyncio.Queue[bytes]]]:
    """Answer every probe with 200; give the address, and a queue of what is asked for."""
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.put_nowait(head.split(b" ")[1])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.parametrize(
    ("base", "asked"),
    [
        ("", b"/v1/chat/completions"),
        ("/v1", b"/v1/chat/completions"),
        ("/below/v1", b"/below/v1/chat/completions"),
        ("/api/paas/v4", b"/api/paas/v4/chat/completions"),
        ("/v1beta/openai/", b"/v1beta/openai/chat/completions"),
    ],
)
async def test_a_request_is_asked_for_below_the_base_path(base: str, asked: bytes) -> None:
    async with scripted_engine() as engine, gateway({"m": remote(engine.url + base)}) as running:
        engine.answer = [whole(b'{"choices":[]}')]
        assert (await answer_to(running, ask())).status == 200
        assert engine.heads[-1].startswith(b"POST %b HTTP/1.1\r\n" % asked)


@pytest.mark.parametrize(
    ("base", "health", "models"),
    [
        ("/below/v1", b"/below/health", b"/below/v1/models"),
        ("/api/paas/v4", b"/api/paas/v4/health", b"/api/paas/v4/models"),
    ],
)
async def test_a_probe_stays_below_the_base_path(base: str, health: bytes, models: bytes) -> None:
    async with probed_engine() as (url, asked), gateway({"m": remote(url + base)}):
        async with asyncio.timeout(10):
            assert [await asked.get(), await asked.get()] == [health, models]
