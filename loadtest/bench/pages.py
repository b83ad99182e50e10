"""Small pages over HTTP, got without stopping the loop that the load runs on."""

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
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(f"GET {parts.path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return Page(int(head.split(b" ", 2)[1]), body.decode())
