"""Small pages over HTTP, got and put without stopping the loop that the load runs on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    text: str


async def get(url: str) -> Page:
    """Get a page from ``http://HOST:PORT/PATH`` on a connection of its own."""
    return await _ask("GET", url, b"")


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
    return Page(int(head.split(b" ", 2)[1]), answer.decode())
