"""Finds replicas by a service of Kubernetes: lists its EndpointSlices, and watches them for changes.

The protocol is that of https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes: a
list has a version; a watch tells all changes since a version; where the server no longer knows that version (410), the
list is read again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import msgspec

from gateway.config.discovery import ServicePort
from gateway.discovery.cluster import Cluster
from gateway.discovery.endpoint_slices import EndpointSlice, Metadata, replicas_of
from gateway.discovery.source import SourceError, Tell

_WATCH_SECONDS = 60
"""How long the server keeps one watch; after this and a little more, a connection that is silent is dead."""

_LIST_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_SHORT_SECONDS = 1.0
"""A watch that has brought nothing and ended sooner than this is repeated only after a pause."""

_FIRST_PAUSE = 0.5
_MOST_PAUSE = 30.0
_MAX_EVENT_BYTES = 8 * 1024 * 1024
"""The most that one event may have; the store of Kubernetes takes objects of 1.5 MiB."""

_GONE = 410


class _SliceList(msgspec.Struct):
    metadata: Metadata
    items: list[EndpointSlice]


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: Metadata


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""


class KubernetesSource:
    """Watches the EndpointSlices of one service.

    ``cluster`` finds the API server, anew after each error.
    """

    def __init__(self, at: ServicePort, cluster: Callable[[], Cluster] = Cluster.around) -> None:
        self._at = at
        self._find_cluster = cluster
        self._slices: dict[str, EndpointSlice] = {}
        self._version = ""

    def __repr__(self) -> str:
        return f"<KubernetesSource {self._at.namespace}/{self._at.service} [{len(self._slices)} slices]>"

    async def watch(self, tell: Tell) -> None:
        """Tell the replicas at each change. Raises ``SourceError``."""
        cluster = self._find_cluster()
        connector = aiohttp.TCPConnector(ssl=cluster.tls())
        try:
            async with aiohttp.ClientSession(cluster.url, connector=connector) as session:
                await self._list_and_follow(_Requests(session, cluster, self._at), tell)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceError(f"the API server at {cluster.url} does not answer: {error or 'timeout'}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(f"the API server at {cluster.url} sent what is no EndpointSlice: {error}") from None

    def pause(self, failures: int) -> float:
        """Ask a server that fails less and less often, and not at the same time as all other clients."""
        return _pause(failures)

    async def _list_and_follow(self, requests: _Requests, tell: Tell) -> None:
        """List at first, and whenever the server no longer knows the version; else watch again and again."""
        listed, vain = False, 0
        while True:
            if not listed:
                slices = await requests.list()
                self._slices = {each.metadata.name: each for each in slices.items}
                self._version = slices.metadata.resource_version
                tell(replicas_of(self._slices.values(), self._at))
            began, version = asyncio.get_running_loop().time(), self._version
            listed = await self._follow(requests, tell)
            lasted = asyncio.get_running_loop().time() - began
            vain = vain + 1 if lasted < _SHORT_SECONDS and self._version == version else 0
            if vain:
                await asyncio.sleep(_pause(vain))

    async def _follow(self, requests: _Requests, tell: Tell) -> bool:
        """Take over the changes of one watch until it ends; return whether another one may go on from there.

        A stream may end anywhere, also within an object: what is not whole then comes again with the next watch.
        """
        async with requests.watch(self._version) as response:
            if response.status == _GONE:
                return False
            await _check(response)
            rest = b""
            try:
                async for data in response.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > _MAX_EVENT_BYTES:
                        raise SourceError(f"the API server sent an event of more than {_MAX_EVENT_BYTES} bytes")
                    if not all(self._take(line) for line in lines if line):
                        return False
                    if lines:
                        tell(replicas_of(self._slices.values(), self._at))
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                return True
        tell(replicas_of(self._slices.values(), self._at))
        return True

    def _take(self, line: bytes) -> bool:
        """Take over one event; return whether the watch can go on. Raises ``SourceError``."""
        event = msgspec.json.decode(line, type=_Event)
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=_Status)
            if status.code == _GONE:
                return False
            raise SourceError(f"the API server ended the watch with {status.code}: {status.message[:300]}")
        if event.type == "BOOKMARK":
            self._version = msgspec.json.decode(event.object, type=_Bookmark).metadata.resource_version
            return True
        changed = msgspec.json.decode(event.object, type=EndpointSlice)
        self._version = changed.metadata.resource_version
        if event.type == "DELETED":
            self._slices.pop(changed.metadata.name, None)
        else:
            self._slices[changed.metadata.name] = changed
        return True


class _Requests:
    """The two requests that are made, with what they have in common."""

    def __init__(self, session: aiohttp.ClientSession, cluster: Cluster, at: ServicePort) -> None:
        self._session = session
        self._cluster = cluster
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{at.namespace}/endpointslices"
        self._selector = {"labelSelector": f"kubernetes.io/service-name={at.service}"}

    async def list(self) -> _SliceList:
        """List all slices of the service. Raises ``SourceError`` and what ``aiohttp`` raises."""
        within = aiohttp.ClientTimeout(total=_LIST_SECONDS, sock_connect=_CONNECT_SECONDS)
        async with self._get({}, within) as response:
            await _check(response)
            return msgspec.json.decode(await response.read(), type=_SliceList)

    def watch(self, version: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask for all changes after a version."""
        options = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        within = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_WATCH_SECONDS + 10)
        return self._get(options | {"timeoutSeconds": str(_WATCH_SECONDS)}, within)

    def _get(
        self, options: Mapping[str, Any], within: aiohttp.ClientTimeout
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.get(
            self._path,
            params={**self._selector, **options},
            headers={"accept": "application/json", **self._cluster.headers()},
            timeout=within,
            allow_redirects=False,
        )


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise ``SourceError`` unless a request was granted, with what the server says to it."""
    if response.status == 200:
        return
    body = await response.read()
    try:
        message = msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = ""
    raise SourceError(f"the API server answered {response.status} {message[:300] or response.reason}")


def _pause(failures: int) -> float:
    """Wait twice as long after each failure, up to a limit; a random part of it keeps clients apart."""
    longest = min(_MOST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - Nothing depends on its being unpredictable.
