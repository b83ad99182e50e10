"""The API server that tests use speaks the protocol as kubectl and Kubernetes' client for Python understand it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client, watch

from tests.kit.kubectl import Kubectl, unpack
from tests.kit.kubernetes import ApiServer, api_server, endpoint, endpoint_slice


@pytest.fixture(scope="session")
def kubectl_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("kubectl", tmp_path_factory.mktemp("kubectl"))


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as running:
        running.put(
            endpoint_slice("vllm-a", endpoint("10.0.0.1", pod="vllm-0", ready=True)),
            endpoint_slice("vllm-b", endpoint("10.0.0.2", ready=False)),
            endpoint_slice("other-a", endpoint("10.0.0.3"), service="other"),
            endpoint_slice("vllm-a", endpoint("10.0.0.4"), namespace="far"),
        )
        yield running


@pytest.fixture
def kubectl(kubectl_path: Path, server: ApiServer, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl_path, server.url, tmp_path)


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[client.DiscoveryV1Api]:
    async with client.ApiClient(client.Configuration(host=server.url)) as connected:
        yield client.DiscoveryV1Api(connected)


SELECTOR = "kubernetes.io/service-name=vllm"


async def test_kubectl_lists_by_label(kubectl: Kubectl) -> None:
    code, out, error = await kubectl.run("get", "endpointslices", "-n", "default", "-l", SELECTOR, "-o", "json")
    assert (code, error) == (0, "")
    listed = json.loads(out)["items"]
    assert [(each["metadata"]["name"], each["endpoints"][0]["addresses"]) for each in listed] == [
        ("vllm-a", ["10.0.0.1"]),
        ("vllm-b", ["10.0.0.2"]),
    ]


async def test_kubectl_gets_one_of_all_namespaces_and_what_is_not_there(kubectl: Kubectl) -> None:
    code, out, _ = await kubectl.run("get", "endpointslice.discovery.k8s.io", "other-a", "-o", "name")
    assert (code, out) == (0, "endpointslice.discovery.k8s.io/other-a\n")
    code, out, _ = await kubectl.run("get", "endpointslices", "-A", "-o", "name")
    assert (code, out.count("endpointslice.discovery.k8s.io/vllm-a\n")) == (0, 2)
    code, _, error = await kubectl.run("get", "endpointslices", "none")
    assert (code, error) == (
        1,
        'Error from server (NotFound): endpointslices.discovery.k8s.io "none" not found\n',
    )


async def test_kubectl_watches(kubectl: Kubectl, server: ApiServer) -> None:
    process = await kubectl.start(
        "get", "endpointslices", "-l", SELECTOR, "-w", "-o", "jsonpath={.metadata.name} {.endpoints[0].addresses[0]}\n"
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert [await process.stdout.readline() for _ in range(2)] == [b"vllm-a 10.0.0.1\n", b"vllm-b 10.0.0.2\n"]
            await server.until(watches=1)
            server.bookmark()
            server.put(endpoint_slice("vllm-b", endpoint("10.0.0.9")), endpoint_slice("x", service="other"))
            server.delete("vllm-a")
            assert await process.stdout.readline() == b"vllm-b 10.0.0.9\n"
            assert await process.stdout.readline() == b"vllm-a 10.0.0.1\n"
    finally:
        process.kill()
        await process.communicate()


async def test_kubectl_is_told_why_it_may_not(kubectl: Kubectl, server: ApiServer) -> None:
    server.forbidden = True
    code, _, error = await kubectl.run("get", "endpointslices", "-n", "default")
    assert code == 1
    assert error.startswith("Error from server (Forbidden): endpointslices.discovery.k8s.io is forbidden: User")


async def test_the_client_for_python_lists_and_gets(api: client.DiscoveryV1Api) -> None:
    listed = await api.list_namespaced_endpoint_slice("default", label_selector=SELECTOR)
    assert [each.metadata.name for each in listed.items] == ["vllm-a", "vllm-b"]
    assert listed.items[0].endpoints[0].target_ref.uid == "uid-vllm-0"
    assert listed.items[1].endpoints[0].conditions.ready is False
    got = await api.read_namespaced_endpoint_slice("other-a", "default")
    assert (got.address_type, got.ports[0].port) == ("IPv4", 8000)


async def test_the_client_for_python_watches_from_a_version(api: client.DiscoveryV1Api, server: ApiServer) -> None:
    listed = await api.list_namespaced_endpoint_slice("default")
    server.put(endpoint_slice("vllm-c", endpoint("10.0.0.7")))
    server.delete("vllm-b")
    events: list[tuple[str, str]] = []
    async with watch.Watch() as watching:
        stream = watching.stream(
            api.list_namespaced_endpoint_slice,
            "default",
            label_selector=SELECTOR,
            resource_version=listed.metadata.resource_version,
            allow_watch_bookmarks=True,
            timeout_seconds=60,
        )
        async for event in stream:
            events.append((event["type"], _name_of(event)))
            if len(events) == 2:
                server.bookmark()
                server.put(endpoint_slice("vllm-d"))
            if len(events) == 4:
                break
    assert events == [("ADDED", "vllm-c"), ("DELETED", "vllm-b"), ("BOOKMARK", ""), ("ADDED", "vllm-d")]


def _name_of(event: dict[str, Any]) -> str:
    return str(event["raw_object"]["metadata"].get("name", ""))


@pytest.mark.parametrize("by_status", [False, True])
async def test_a_version_that_is_forgotten_is_gone(
    api: client.DiscoveryV1Api, server: ApiServer, by_status: bool
) -> None:
    listed = await api.list_namespaced_endpoint_slice("default")
    server.forget()
    server.gone_by_status = by_status
    async with watch.Watch() as watching:
        stream = watching.stream(
            api.list_namespaced_endpoint_slice, "default", resource_version=listed.metadata.resource_version
        )
        with pytest.raises(client.ApiException) as caught:
            await anext(stream)
    assert caught.value.status == 410


async def test_a_watch_ends_when_its_time_is_over(api: client.DiscoveryV1Api, server: ApiServer) -> None:
    listed = await api.list_namespaced_endpoint_slice("default")
    async with watch.Watch() as watching:
        version = listed.metadata.resource_version
        stream = watching.stream(
            api.list_namespaced_endpoint_slice, "default", resource_version=version, timeout_seconds=1
        )
        assert [event async for event in stream] == []
