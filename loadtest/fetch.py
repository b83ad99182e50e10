"""Read pages of the server that are no part of the load: its list of models, its metrics."""

from __future__ import annotations

import aiohttp

from gateway.http.address import Address

_SECONDS = 10.0


class FetchError(Exception):
    """A page cannot be read; the message says why."""


async def fetch(url: str, path: str, *, key: str | None = None) -> bytes:
    """Get ``path`` at ``url``, which may be that of a Unix socket. Raises ``FetchError``."""
    address = Address.parse(url)
    connector = None if address.path is None else aiohttp.UnixConnector(address.path)
    base = url.rstrip("/").removesuffix("/v1") if address.path is None else "http://localhost"
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
            session.get(base + path) as answer,
        ):
            if answer.status != 200:
                raise FetchError(f"status {answer.status}")
            return await answer.read()
    except (aiohttp.ClientError, OSError) as error:
        raise FetchError(str(error) or type(error).__name__) from error
