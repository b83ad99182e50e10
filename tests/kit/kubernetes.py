"""An API server of Kubernetes that knows EndpointSlices alone, for a test that says what is in it.

It speaks as much of the protocol as clients of these objects use: discovery of the API, get, list and watch with
``resourceVersion``, ``labelSelector``, ``fieldSelector`` by name, ``timeoutSeconds``, bookmarks, and 410 for a version
that it has forgotten. ``tests/kit/test_kubernetes.py`` has it checked by kubectl and by the Python client.
"""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.kit.eventually import PATIENCE

GROUP = "discovery.k8s.io/v1"
SERVICE_LABEL = "kubernetes.io/service-name"


def endpoint(address: str, *, pod: str | None = None, **conditions: bool | None) -> dict[str, Any]:
    """Write one endpoint of a slice."""
    made: dict[str, Any] = {"addresses": [address], "conditions": conditions}
    if pod is not None:
        made["targetRef"] = {"kind": "Pod", "namespace": "default", "name": pod, "uid": f"uid-{pod}"}
    return made


def endpoint_slice(
    name: str,
    *endpoints: Mapping[str, Any],
    service: str = "vllm",
    namespace: str = "default",
    ports: Mapping[str, int] | None = None,
    family: str = "IPv4",
) -> dict[str, Any]:
    """Write an EndpointSlice of a service."""
    listed = {"http": 8000} if ports is None else ports
    return {
        "kind": "EndpointSlice",
        "apiVersion": GROUP,
        "metadata": {"name": name, "namespace": namespace, "labels": {SERVICE_LABEL: service}},
        "addressType": family,
        "endpoints": [dict(each) for each in endpoints],
        "ports": [{"name": port, "port": number, "protocol": "TCP"} for port, number in listed.items()],
    }


class ApiServer:
    """What it holds, what it was asked, and how it is to fail."""

    def __init__(self) -> None:
        self.url = ""
        self.token: str | None = None
        """The token that requests must have; ``None``: none."""
        self.forbidden = False
        self.gone = False
        """Whether every watch is told that its version is too old."""
        self.gone_by_status = False
        """Whether that is said by the status of the response, instead of by an event."""
        self.broken = False
        """Whether every request gets 500."""
        self.requests: list[web.Request] = []
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self._version = 100
        self._forgotten = 0
        """Versions up to this one are not known any more."""
        self._watches: set[_Watch] = set()
        self._asked = asyncio.Condition()

    # what a test does

    def put(self, *slices: dict[str, Any]) -> None:
        """Create slices or replace them."""
        for each in slices:
            key = (each["metadata"]["namespace"], each["metadata"]["name"])
            self._change("MODIFIED" if key in self._objects else "ADDED", key, copy.deepcopy(each))

    def delete(self, name: str, namespace: str = "default") -> None:
        """Delete a slice."""
        self._change("DELETED", (namespace, name), copy.deepcopy(self._objects[namespace, name]))

    def bookmark(self) -> None:
        """Send each watch a bookmark of the newest version."""
        self._version += 1
        for watch in self._watches:
            watch.send("BOOKMARK", {"kind": "EndpointSlice", "apiVersion": GROUP, "metadata": self._metadata()})

    def forget(self) -> None:
        """Know only the newest version from now on, as after a compaction."""
        self._version += 1
        self._forgotten = self._version - 1
        self._history.clear()

    def end_watches(self, last: bytes = b"", *, cut: bool = False) -> None:
        """End all watches after ``last``, with their connections where they are ``cut``."""
        for watch in self._watches:
            watch.end(last, cut=cut)

    def say(self, kind: str, **status: object) -> None:
        """Send each watch an event that is not of a slice."""
        for watch in self._watches:
            watch.send(kind, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", **status})

    async def until(self, watches: int = 0, *, requests: int = 0) -> None:
        """Wait until so many watches are open, and so many requests have come."""
        async with asyncio.timeout(PATIENCE), self._asked:
            await self._asked.wait_for(lambda: len(self._watches) >= watches and len(self.requests) >= requests)

    @property
    def watches(self) -> list[web.Request]:
        """The requests that were watches."""
        return [each for each in self.requests if _is_true(each.query.get("watch"))]

    @property
    def lists(self) -> list[web.Request]:
        """The requests that were lists."""
        return [each for each in self.requests if not _is_true(each.query.get("watch"))]

    # the protocol

    def application(self) -> web.Application:
        """Make what answers."""
        application = web.Application()
        application.router.add_get("/version", self._about({"major": "1", "minor": "37", "gitVersion": "v1.37.1"}))
        application.router.add_get("/api", self._about({"kind": "APIVersions", "versions": ["v1"]}))
        application.router.add_get("/api/v1", self._about(_resources("v1")))
        version = {"groupVersion": GROUP, "version": "v1"}
        group = {"name": "discovery.k8s.io", "versions": [version], "preferredVersion": version}
        application.router.add_get(
            "/apis", self._about({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})
        )
        slices = {"name": "endpointslices", "singularName": "endpointslice", "namespaced": True}
        kind = {"kind": "EndpointSlice", "verbs": ["get", "list", "watch"]}
        application.router.add_get(f"/apis/{GROUP}", self._about(_resources(GROUP, slices | kind)))
        path = f"/apis/{GROUP}/namespaces/{{namespace}}/endpointslices"
        application.router.add_get(path, self._list_or_watch)
        application.router.add_get(f"/apis/{GROUP}/endpointslices", self._list_or_watch)
        application.router.add_get(f"{path}/{{name}}", self._get)
        return application

    @staticmethod
    def _about(document: dict[str, Any]) -> Any:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response(document)

        return answer

    async def _get(self, request: web.Request) -> web.Response:
        found = self._objects.get((request.match_info["namespace"], request.match_info["name"]))
        if found is None:
            message = f'endpointslices.discovery.k8s.io "{request.match_info["name"]}" not found'
            return _failure(404, "NotFound", message)
        return web.json_response(found)

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        async with self._asked:
            self._asked.notify_all()
        refused = self._refused(request)
        if refused is not None:
            return refused
        if _is_true(request.query.get("watch")):
            return await self._watch(request)
        chosen = [each for each in self._objects.values() if _chosen(request, each)]
        document = {"kind": "EndpointSliceList", "apiVersion": GROUP, "metadata": self._metadata(), "items": chosen}
        return web.json_response(document)

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.broken:
            return _failure(500, "InternalError", "etcdserver: leader changed")
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return _failure(401, "Unauthorized", "Unauthorized")
        if self.forbidden:
            return _failure(403, "Forbidden", 'endpointslices.discovery.k8s.io is forbidden: User "system:anonymous"')
        return None

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or 0)
        old = self.gone or 0 < since <= self._forgotten
        message = f"too old resource version: {since} ({self._version})"
        if old and self.gone_by_status:
            return _failure(410, "Expired", message)
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        watch = _Watch(request)
        if old:
            watch.send("ERROR", _status(410, "Expired", message))
            watch.end()
        elif since:
            for version, kind, changed in self._history:
                if version > since:
                    watch.send(kind, changed)
        else:
            for each in self._objects.values():
                watch.send("ADDED", each)
        self._watches.add(watch)
        async with self._asked:
            self._asked.notify_all()
        try:
            await watch.write_to(response, float(request.query.get("timeoutSeconds") or 3600))
        finally:
            self._watches.discard(watch)
        return response

    def _change(self, kind: str, key: tuple[str, str], changed: dict[str, Any]) -> None:
        self._version += 1
        changed["metadata"]["resourceVersion"] = str(self._version)
        changed["metadata"].setdefault("uid", f"uid-{key[0]}-{key[1]}")
        changed["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        if kind == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = changed
        self._history.append((self._version, kind, changed))
        for watch in self._watches:
            watch.send(kind, changed)

    def _metadata(self) -> dict[str, str]:
        return {"resourceVersion": str(self._version)}


class _Watch:
    """One watch: what is still to be sent, and how it ends."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._cut = False

    def send(self, kind: str, changed: Mapping[str, Any]) -> None:
        """Send an event, unless the watch did not ask for it."""
        if kind == "BOOKMARK" and not _is_true(self._request.query.get("allowWatchBookmarks")):
            return
        if kind in ("ADDED", "MODIFIED", "DELETED") and not _chosen(self._request, changed):
            return
        self._lines.put_nowait(json.dumps({"type": kind, "object": changed}).encode() + b"\n")

    def end(self, last: bytes = b"", *, cut: bool = False) -> None:
        """Send something more, and end the stream, or the connection where it is ``cut``."""
        self._cut = cut
        if last:
            self._lines.put_nowait(last)
        self._lines.put_nowait(None)

    async def write_to(self, response: web.StreamResponse, seconds: float) -> None:
        """Send all events until the end, or until the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while (line := await self._lines.get()) is not None:
                    await response.write(line)
        except TimeoutError:
            return
        if self._cut and self._request.transport is not None:
            self._request.transport.close()


def _is_true(value: str | None) -> bool:
    """Read a truth as Go's ``strconv.ParseBool`` does, by which one client sends ``True``, and another ``1``."""
    return value in ("1", "t", "T", "true", "TRUE", "True")


def _chosen(request: web.Request, each: Mapping[str, Any]) -> bool:
    """Whether a request asks for an object: by its namespace, its labels and its name."""
    metadata = each["metadata"]
    wanted = request.match_info.get("namespace")
    labels = [part.split("=", 1) for part in request.query.get("labelSelector", "").split(",") if part]
    fields = [part.split("=", 1) for part in request.query.get("fieldSelector", "").split(",") if part]
    return (
        wanted in (None, metadata["namespace"])
        and all(metadata["labels"].get(name) == value for name, value in labels)
        and all(name == "metadata.name" and metadata["name"] == value for name, value in fields)
    )


def _resources(version: str, *resources: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list(resources)}


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return status | {"message": message, "reason": reason, "code": code}


def _failure(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(_status(code, reason, message), status=code)


@asynccontextmanager
async def api_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[ApiServer]:
    """Run an API server on a port of its own, with TLS if there is a context for it."""
    server = ApiServer()
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.end_watches()
        await runner.cleanup()
