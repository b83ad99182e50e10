"""Which replicas the EndpointSlices of a Kubernetes service name together: a plain function of the slices.

The conditions of an endpoint are read as kube-proxy reads them (the API ``discovery.k8s.io/v1``): one that is ready
gets requests; one that terminates and still serves gets none as long as any other is ready.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import IntEnum

import msgspec

from gateway.config.discovery import ServicePort
from gateway.discovery.source import SourceError
from gateway.pools.discovered import Found


class Metadata(msgspec.Struct, rename="camel"):
    """What every object of the API has: a name, and the version that watching goes on from."""

    name: str = ""
    resource_version: str = ""


class Conditions(msgspec.Struct):
    """What is known of an endpoint; ``None`` where nothing is said."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(msgspec.Struct):
    """The pod behind an endpoint."""

    uid: str = ""


class Endpoint(msgspec.Struct, rename="camel"):
    """One pod, by one of its addresses; more addresses would be of the same pod."""

    addresses: list[str]
    conditions: Conditions = msgspec.field(default_factory=Conditions)
    target_ref: TargetRef | None = None


class Port(msgspec.Struct):
    """A port that all endpoints of a slice listen on."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(msgspec.Struct, rename="camel"):
    """Some of the endpoints of a service; they are of one family of addresses and have the same ports."""

    metadata: Metadata
    address_type: str
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None


class _Use(IntEnum):
    """What an endpoint is good for; where two slices disagree, the most holds."""

    NOTHING = 0
    SPARE = 1
    READY = 2


def replicas_of(slices: Collection[EndpointSlice], at: ServicePort) -> Found:
    """Give the replicas that the slices of a service name. Raises ``SourceError``.

    A pod is one replica also where two slices have it for a moment, and where it has an IPv4 and an IPv6 address: then
    the former is asked.
    """
    if not slices:
        raise SourceError(f"the service {at.namespace}/{at.service} has no EndpointSlices; does it exist?")
    with_port = {each.metadata.name: number for each in slices if (number := _port(each, at.port)) is not None}
    if not with_port and any(each.endpoints for each in slices):
        raise SourceError(f"the service {at.namespace}/{at.service} has no port {at.port!r}; {_known_ports(slices)}")
    uses: dict[str, tuple[str, _Use]] = {}
    for each in sorted(slices, key=lambda each: (each.address_type, each.metadata.name)):
        if each.metadata.name in with_port and each.address_type in ("IPv4", "IPv6"):
            for pod, host, use in _endpoints(each):
                url = f"http://{host}:{with_port[each.metadata.name]}"
                known = uses.setdefault(pod, (url, use))
                if known[0] == url and use > known[1]:
                    uses[pod] = (url, use)
    ready = sorted(url for url, use in uses.values() if use is _Use.READY)
    spare = frozenset(url for url, use in uses.values() if use is _Use.SPARE)
    stay = (not endpoint.conditions.terminating for each in slices for endpoint in each.endpoints or ())
    return Found(tuple(ready), spare, at_zero=not any(stay))


def _endpoints(each: EndpointSlice) -> Iterator[tuple[str, str, _Use]]:
    """Give the pod of each endpoint, or its address where that is not told, its host, and what it is good for."""
    for endpoint in each.endpoints or ():
        if not endpoint.addresses:
            continue
        address = endpoint.addresses[0]
        pod = endpoint.target_ref.uid if endpoint.target_ref is not None else ""
        yield pod or address, f"[{address}]" if ":" in address else address, _use(endpoint.conditions)


def _use(conditions: Conditions) -> _Use:
    ready = conditions.ready is not False
    serving = ready if conditions.serving is None else conditions.serving
    if conditions.terminating:
        return _Use.SPARE if serving else _Use.NOTHING
    return _Use.READY if ready else _Use.NOTHING


def _port(each: EndpointSlice, wanted: str) -> int | None:
    """Find a port by its name, or by its number."""
    ports = [port for port in each.ports or () if port.protocol in (None, "TCP")]
    return next((port.port for port in ports if wanted in (port.name, str(port.port))), None)


def _known_ports(slices: Collection[EndpointSlice]) -> str:
    """Name the ports that there are."""
    ports = {f"{port.name or 'unnamed'} ({port.port})" for each in slices for port in each.ports or ()}
    return f"it has {', '.join(sorted(ports))}" if ports else "it has none"
