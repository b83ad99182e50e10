"""A service's EndpointSlices are listed and watched, whatever happens to the stream between."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from gateway.config.discovery import ServicePort
from gateway.discovery import kubernetes as module
from gateway.discovery.cluster import Cluster
from gateway.discovery.kubernetes import KubernetesSource
from gateway.discovery.source import SourceError
from gateway.pools.discovered import Found
from tests.kit.eventually import eventually
from tests.kit.kubernetes import ApiServer, api_server, endpoint, endpoint_slice

AT = ServicePort("default", "vllm", "http")


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as running:
        running.put(endpoint_slice("vllm-a", endpoint("10.0.0.1")))
        yield running


class Watching:
    """A source that watches, and the hosts that it told last."""

    def __init__(self, source: KubernetesSource) -> None:
        self.source = source
        self.hosts: list[str] = []
        self.spare: list[str] = []
        self.told = 0
        self.task = asyncio.create_task(source.watch(self._tell))

    def _tell(self, found: Found) -> None:
        self.told += 1
        self.hosts = [_host(url) for url in found.urls]
        self.spare = [_host(url) for url in found.spare or ()]

    async def until(self, *hosts: str) -> None:
        """Wait until it has told these hosts, or has failed."""
        await eventually(lambda: self.hosts == list(hosts) or self.task.done())
        assert self.hosts == list(hosts)


def _host(url: str) -> str:
    return url.removeprefix("http://").removesuffix(":8000")


@asynccontextmanager
async def watching(server: ApiServer) -> AsyncIterator[Watching]:
    made = Watching(KubernetesSource(AT, lambda: Cluster(server.url)))
    try:
        yield made
    finally:
        made.task.cancel()
        with suppress(asyncio.CancelledError, SourceError):
            await made.task


async def error_of(server: ApiServer) -> str:
    """Watch until that fails, and return why."""
    with pytest.raises(SourceError) as caught:
        await KubernetesSource(AT, lambda: Cluster(server.url)).watch(lambda _: None)
    return str(caught.value)


async def test_what_is_listed_is_watched_from_there(server: ApiServer) -> None:
    server.put(endpoint_slice("other", endpoint("10.9.9.9"), service="other"))
    async with watching(server) as made:
        await made.until("10.0.0.1")
        await server.until(watches=1)
        assert repr(made.source) == "<KubernetesSource default/vllm [1 slices]>"
        server.put(endpoint_slice("vllm-b", endpoint("10.0.0.2"), endpoint("10.0.0.3", ready=False)))
        server.put(endpoint_slice("other", endpoint("10.9.9.8"), service="other"))
        await made.until("10.0.0.1", "10.0.0.2")
        server.delete("vllm-a")
        await made.until("10.0.0.2")
        server.put(endpoint_slice("vllm-b", endpoint("10.0.0.2", ready=False, serving=True, terminating=True)))
        await made.until()
        assert made.spare == ["10.0.0.2"]
    asked = server.lists[0], server.watches[0]
    assert [dict(each.query) for each in asked] == [
        {"labelSelector": "kubernetes.io/service-name=vllm"},
        {
            "labelSelector": "kubernetes.io/service-name=vllm",
            "watch": "true",
            "resourceVersion": "102",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "60",
        },
    ]


async def test_a_watch_goes_on_from_the_last_version_also_after_an_end_within_an_object(server: ApiServer) -> None:
    async with watching(server) as made:
        await server.until(watches=1)
        server.put(endpoint_slice("vllm-b", endpoint("10.0.0.2")))
        await made.until("10.0.0.1", "10.0.0.2")
        half = json.dumps({"type": "ADDED", "object": endpoint_slice("vllm-c", endpoint("10.0.0.3"))})[:100].encode()
        server.end_watches(half)
        await server.until(watches=1, requests=3)
        server.bookmark()
        server.end_watches(half, cut=True)
        await server.until(watches=1, requests=4)
        server.put(endpoint_slice("vllm-c", endpoint("10.0.0.4")))
        await made.until("10.0.0.1", "10.0.0.2", "10.0.0.4")
    assert [each.query["resourceVersion"] for each in server.watches] == ["101", "102", "103"]
    assert len(server.lists) == 1


async def test_what_changes_between_two_watches_is_not_missed(server: ApiServer) -> None:
    async with watching(server) as made:
        await server.until(watches=1)
        server.bookmark()
        server.end_watches()
        server.put(endpoint_slice("vllm-a", endpoint("10.0.0.9")))
        await made.until("10.0.0.9")
    assert len(server.lists) == 1


@pytest.mark.parametrize("by_status", [False, True])
async def test_a_version_that_is_forgotten_has_the_list_read_again(server: ApiServer, by_status: bool) -> None:
    async with watching(server) as made:
        await made.until("10.0.0.1")
        await server.until(watches=1)
        server.gone_by_status = by_status
        server.delete("vllm-a")
        server.put(endpoint_slice("vllm-b", endpoint("10.0.0.2")))
        await made.until("10.0.0.2")
        server.put(endpoint_slice("vllm-b", endpoint("10.0.0.3")))
        server.forget()
        # The watch that is open may go on; the next one may not.
        server.end_watches()
        server.put(endpoint_slice("vllm-b", endpoint("10.0.0.4")))
        await made.until("10.0.0.4")
        await server.until(watches=1)
        server.put(endpoint_slice("vllm-b", endpoint("10.0.0.5")))
        await made.until("10.0.0.5")


async def test_a_server_that_forgets_every_version_is_asked_less_and_less_often(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[int] = []

    def pause(vain: int) -> float:
        pauses.append(vain)
        return 0.0

    monkeypatch.setattr(module, "_pause", pause)
    server.gone = True
    async with watching(server) as made:
        await eventually(lambda: len(pauses) >= 5)
        assert pauses[:5] == [1, 2, 3, 4, 5]
        # What it lists counts all the same.
        server.put(endpoint_slice("vllm-a", endpoint("10.0.0.7")))
        await made.until("10.0.0.7")


def test_pauses_grow_to_a_limit_and_are_not_the_same_for_all() -> None:
    source = KubernetesSource(AT)
    for failures, longest in ((1, 0.5), (2, 1.0), (5, 8.0), (100, 30.0)):
        pauses = [source.pause(failures) for _ in range(50)]
        assert all(longest / 2 <= each <= longest for each in pauses)
        assert len(set(pauses)) > 1


async def test_a_large_slice_comes_in_many_pieces(server: ApiServer) -> None:
    hosts = [f"10.0.{number // 256}.{number % 256}" for number in range(1000)]
    async with watching(server) as made:
        await server.until(watches=1)
        large = endpoint_slice("vllm-a", *(endpoint(host, pod=f"vllm-{host}") for host in hosts))
        assert len(json.dumps(large)) > 100_000
        server.put(large)
        await eventually(lambda: sorted(made.hosts) == sorted(hosts))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"forbidden": True}, "the API server answered 403 endpointslices.discovery.k8s.io is forbidden: User"),
        ({"token": "secret"}, "the API server answered 401 Unauthorized"),
        ({"broken": True}, "the API server answered 500 etcdserver: leader changed"),
    ],
)
async def test_a_server_that_refuses_is_told_with_its_own_words(
    server: ApiServer, fault: dict[str, object], reason: str
) -> None:
    for name, value in fault.items():
        setattr(server, name, value)
    assert (await error_of(server)).startswith(reason)


async def test_a_server_that_is_not_there_is_told() -> None:
    async with api_server() as gone:
        pass
    assert (await error_of(gone)).startswith(f"the API server at {gone.url} does not answer: ")


async def test_a_service_that_is_not_there_is_told(server: ApiServer) -> None:
    server.delete("vllm-a")
    assert await error_of(server) == "the service default/vllm has no EndpointSlices; does it exist?"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"garbage\n", "sent what is no EndpointSlice: JSON is malformed"),
        (b'{"type": "ADDED", "object": {"metadata": {}}}\n', "sent what is no EndpointSlice: Object missing required"),
    ],
)
async def test_what_is_no_event_is_told(server: ApiServer, line: bytes, reason: str) -> None:
    async with watching(server) as made:
        await server.until(watches=1)
        server.end_watches(line)
        with pytest.raises(SourceError, match=reason):
            await made.task


async def test_an_error_in_the_stream_is_told(server: ApiServer) -> None:
    async with watching(server) as made:
        await server.until(watches=1)
        server.say("ERROR", code=500, message="etcd is away")
        with pytest.raises(SourceError, match=r"^the API server ended the watch with 500: etcd is away$"):
            await made.task


async def test_an_event_without_end_is_refused(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_EVENT_BYTES", 1000)
    async with watching(server) as made:
        await server.until(watches=1)
        server.end_watches(b"x" * 1001)
        with pytest.raises(SourceError, match=r"^the API server sent an event of more than 1000 bytes$"):
            await made.task


async def test_a_pod_proves_who_it_is_and_checks_whom_it_asks(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with api_server(context) as server:
        server.put(endpoint_slice("vllm-a", endpoint("10.0.0.1")))
        server.token = "first"
        (tmp_path / "token").write_text("first\n")
        authority.cert_pem.write_to_path(tmp_path / "ca.crt")
        made = Watching(KubernetesSource(AT, lambda: Cluster(server.url, tmp_path)))
        await made.until("10.0.0.1")
        await server.until(watches=1)
        # The kubelet replaces the token while the pod lives, and the next request has the new one.
        server.token = "second"
        (tmp_path / "token").write_text("second\n")
        server.bookmark()
        server.end_watches()
        await server.until(watches=1, requests=3)
        server.put(endpoint_slice("vllm-a", endpoint("10.0.0.2")))
        await made.until("10.0.0.2")
        made.task.cancel()
        with suppress(asyncio.CancelledError):
            await made.task
        trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
        with pytest.raises(SourceError, match=r"does not answer: .*certificate verify failed"):
            await KubernetesSource(AT, lambda: Cluster(server.url, tmp_path)).watch(lambda _: None)
