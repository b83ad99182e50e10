"""Which replicas the EndpointSlices of a service name together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.config.discovery import ServicePort
from gateway.discovery.endpoint_slices import EndpointSlice, replicas_of
from gateway.discovery.source import SourceError
from tests.kit.kubernetes import endpoint, endpoint_slice

HTTP = ServicePort("default", "vllm", "http")


def found(*slices: dict[str, Any], at: ServicePort = HTTP) -> tuple[list[str], set[str]]:
    """Give the hosts that are to get requests, and those that may be asked until one of them is ready."""
    urls, spare, _ = replicas_of([msgspec.convert(each, EndpointSlice) for each in slices], at)
    assert spare is not None
    return [url.removeprefix("http://") for url in urls], {url.removeprefix("http://") for url in spare}


def test_the_endpoints_of_all_slices_are_replicas() -> None:
    first = endpoint_slice("vllm-a", endpoint("10.0.0.2"), endpoint("10.0.0.1"))
    second = endpoint_slice("vllm-b", endpoint("10.0.0.3"), ports={"metrics": 9000, "http": 8001})
    assert found(first, second) == (["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8001"], set())


@pytest.mark.parametrize(
    ("conditions", "gets_requests", "is_spare"),
    [
        ({}, True, False),
        ({"ready": None}, True, False),
        ({"ready": True, "serving": True, "terminating": False}, True, False),
        ({"ready": False}, False, False),
        ({"ready": False, "serving": True, "terminating": True}, False, True),
        ({"ready": False, "serving": False, "terminating": True}, False, False),
        ({"ready": False, "terminating": True}, False, False),
        # As with ``publishNotReadyAddresses``.
        ({"ready": True, "serving": True, "terminating": True}, False, True),
    ],
)
def test_conditions_are_read_as_kube_proxy_reads_them(
    conditions: dict[str, Any], gets_requests: bool, is_spare: bool
) -> None:
    urls, spare = found(endpoint_slice("vllm-a", endpoint("10.0.0.1", **conditions)))
    assert (bool(urls), bool(spare)) == (gets_requests, is_spare)


@pytest.mark.parametrize(
    ("endpoints", "at_zero"),
    [
        ([], True),
        ([endpoint("10.0.0.1", ready=False, serving=True, terminating=True)], True),
        ([endpoint("10.0.0.1", ready=False, serving=False, terminating=True)], True),
        ([endpoint("10.0.0.1", ready=False)], False),
        ([endpoint("10.0.0.1")], False),
        ([endpoint("10.0.0.1", ready=False, terminating=True), endpoint("10.0.0.2", ready=False)], False),
    ],
)
def test_a_service_whose_pods_have_all_gone_or_go_is_at_zero(endpoints: list[dict[str, Any]], at_zero: bool) -> None:
    slices = [endpoint_slice("vllm-a", *endpoints), endpoint_slice("vllm-b")]
    assert replicas_of([msgspec.convert(each, EndpointSlice) for each in slices], HTTP).at_zero is at_zero


def test_an_endpoint_without_conditions_is_ready() -> None:
    made = endpoint_slice("vllm-a", {"addresses": ["10.0.0.1"]})
    assert found(made) == (["10.0.0.1:8000"], set())


def test_a_pod_that_two_slices_have_for_a_moment_is_one_replica() -> None:
    old = endpoint_slice("vllm-a", endpoint("10.0.0.1", ready=False))
    new = endpoint_slice("vllm-b", endpoint("10.0.0.1", ready=True))
    assert found(old, new) == found(new, old) == (["10.0.0.1:8000"], set())


def test_a_pod_with_an_address_of_each_family_is_one_replica() -> None:
    six = endpoint_slice("vllm-6", endpoint("fd00::1", pod="p1"), endpoint("fd00::2", pod="p2"), family="IPv6")
    four = endpoint_slice("vllm-4", endpoint("10.0.0.1", pod="p1"))
    assert found(six, four) == (["10.0.0.1:8000", "[fd00::2]:8000"], set())


def test_names_that_are_no_addresses_are_left_out() -> None:
    assert found(endpoint_slice("vllm-a", endpoint("a.example"), family="FQDN")) == ([], set())


def test_an_endpoint_without_an_address_is_left_out() -> None:
    assert found(endpoint_slice("vllm-a", {"addresses": []}, endpoint("10.0.0.1"))) == (["10.0.0.1:8000"], set())


def test_a_port_may_be_given_by_its_number() -> None:
    made = endpoint_slice("vllm-a", endpoint("10.0.0.1"), ports={"": 8000})
    assert found(made, at=ServicePort("default", "vllm", "8000")) == (["10.0.0.1:8000"], set())


def test_a_port_that_is_not_there_is_told_with_those_that_are() -> None:
    made = endpoint_slice("vllm-a", endpoint("10.0.0.1"), ports={"metrics": 9000, "": 8000})
    with pytest.raises(
        SourceError,
        match=r"^the service default/vllm has no port 'http'; it has metrics \(9000\), unnamed \(8000\)$",
    ):
        found(made)


def test_a_service_without_pods_has_no_replicas_whatever_its_port() -> None:
    """Kubernetes keeps one slice without endpoints and ports for it."""
    empty = endpoint_slice("vllm-a", ports={}) | {"endpoints": None, "ports": None}
    assert found(empty) == ([], set())


def test_a_service_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"^the service default/vllm has no EndpointSlices; does it exist\?$"):
        found()
