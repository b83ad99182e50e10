"""Small pages over HTTP, got and put without stopping the loop that the load runs on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    text: str


async def get(url: str) -> Page:
    """Get a page from ``http://HOST:PORT/PATH`` on a connection of its own."""
    return await _ask("GET", url, b"")


@asynccontextmanager
async def kept(url: str) -> AsyncIterator[Callable[[], Awaitable[Page]]]:
    """Open a connection, on which the page can then be got again and again, as Prometheus does."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)

    async def again() -> Page:
        writer.write(f"GET {parts.path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, "the control plane says how long its pages are"
        return _page(head, await reader.readexactly(int(length[1])))

    try:
        yield again
    finally:
        writer.close()


async def put(url: str, body: bytes) -> Page:
    """Put a page to ``http://HOST:PORT/PATH`` on a connection of its own."""
    return await _ask("PUT", url, body)


async def _ask(method: str, url: str, body: bytes) -> Page:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        asked = (
            f"{method} {parts.path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(asked.encode() + body)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return _page(head, answer)


def _page(head: bytes, body: bytes) -> Page:
    return Page(int(head.split(b" ", 2)[1]), body.decode())
