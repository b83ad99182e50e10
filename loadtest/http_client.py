"""Single HTTP requests beside the load: a scrape of metrics, the list of models, a readiness probe.

Everything but the load itself is sent from here. ``loadtest.load`` and the clients of ``loadtest.bench`` write on raw
connections instead: what a library needs for each request would be a large part of what they measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from gateway.http.address import Address

_SECONDS = 10.0


class HttpError(Exception):
    """A request got no response, or not the one that was needed; the message says why."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()


class HttpClient:
    """A client of one address, ``http(s)://…`` or ``unix:…``; it keeps its connections while ``async with`` lasts.

    A URL may end with ``/v1``, as those that the SDKs take do: paths begin with it anyway. ``key`` is sent as an API
    key. Every request raises ``HttpError`` if there is no response within ``timeout`` seconds.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = _SECONDS) -> None:
        address = Address.parse(url)
        self._base = url.rstrip("/").removesuffix("/v1") if address.path is None else "http://localhost"
        self._session = aiohttp.ClientSession(
            connector=None if address.path is None else aiohttp.UnixConnector(address.path),
            headers={} if key is None else {"authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=timeout),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str) -> Response:
        """Send a GET request."""
        return await self._request("GET", path)

    async def put(self, path: str, body: bytes) -> Response:
        """Send a PUT request."""
        return await self._request("PUT", path, body)

    async def post(self, path: str, body: bytes, media: str = "application/json") -> Response:
        """Send a POST request with a body, of JSON unless another type is said."""
        return await self._request("POST", path, body, {"content-type": media})

    async def delete(self, path: str) -> Response:
        """Send a DELETE request."""
        return await self._request("DELETE", path)

    async def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Response:
        try:
            async with self._session.request(method, self._base + path, data=body or None, headers=headers) as response:
                return Response(response.status, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise HttpError(str(error) or type(error).__name__) from error


async def fetch(url: str, path: str, *, key: str | None = None) -> bytes:
    """Get the body at ``path`` of ``url``. Raises ``HttpError``, also for any status but 200."""
    async with HttpClient(url, key=key) as client:
        response = await client.get(path)
    if response.status != 200:
        raise HttpError(f"status {response.status}")
    return response.body
