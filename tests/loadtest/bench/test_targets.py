"""Each target is compared with the medians; what was not measured is neither met nor missed."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from loadtest.bench.targets import chart, misses, table

VLLM = {
    "requests_per_second": 14_000.0,
    "request_cpu_us": 70.0,
    "alone_p50_us": 220.0,
    "busy_p99_us": 4000.0,
    "at_once_event_cpu_us": 9.0,
    "paced_event_cpu_us": 20.0,
    "resident_mib": 100.0,
}
NGINX = VLLM | {"request_cpu_us": 16.0, "paced_event_cpu_us": 14.0, "at_once_event_cpu_us": 5.0, "resident_mib": 10.0}
OURS = VLLM | {
    "request_cpu_us": 40.0,
    "alone_p50_us": 200.0,
    "busy_p99_us": 2000.0,
    "at_once_event_cpu_us": 5.0,
    "paced_event_cpu_us": 17.0,
    "resident_mib": 60.0,
}
NOTHING: Mapping[str, float] = {}


def gateway(name: str, title: str, medians: dict[str, float], failed: int = 0) -> dict[str, Any]:
    return {"name": name, "title": title, "medians": medians, "failed": failed, "rounds": []}


def comparison(changes: Mapping[str, float] = NOTHING, *, peers: bool = True) -> dict[str, Any]:
    """Compare Headgate, with some figures changed, with two peers or none."""
    beside = [
        gateway("nginx", "nginx 1.2, a plain reverse proxy", NGINX),
        gateway("vllm-router", "vllm-router 0.1", VLLM, 3),
    ]
    left_out = {"smg": "it is not here"}
    return {
        "part": "peers",
        "left_out": left_out if peers else left_out | {"nginx": "no", "vllm-router": "no"},
        "gateways": [*(beside if peers else []), gateway("headgate", "**Headgate**", OURS | dict(changes))],
    }


def test_a_good_comparison_keeps_every_promise() -> None:
    assert misses(comparison()) == []
    assert "| CPU per request | 0.57 times vllm-router's | ≤ 0.60 | met |" in table(comparison())
    assert "| RSS MiB after the run | 60 | ≤ 80 | met |" in table(comparison())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"request_cpu_us": 42.7},
            ["CPU per request: 0.61 times vllm-router's", "CPU per request: 2.67 times nginx's"],
        ),
        ({"request_cpu_us": 41.8}, ["CPU per request: 2.61 times nginx's"]),
        ({"paced_event_cpu_us": 18.5}, ["CPU per event, one each 10 ms: 0.93 times vllm-router's"]),
        ({"at_once_event_cpu_us": 6.1}, ["CPU per event, 66 at once: 1.22 times nginx's"]),
        ({"alone_p50_us": 230.0}, ["p50, one connection: 1.05 times vllm-router's"]),
        ({"busy_p99_us": 2900.0}, ["p99, 32 connections: 0.72 times vllm-router's"]),
        ({"resident_mib": 81.0}, ["RSS MiB after the run: 81"]),
    ],
)
def test_each_promise_can_be_missed(changes: dict[str, float], said: list[str]) -> None:
    found = misses(comparison(changes))
    assert [miss.partition(", target")[0] for miss in found] == [f"peers: {each}" for each in said]
    assert table(comparison(changes)).count("**missed**") == len(said)


def test_what_was_left_out_breaks_no_promise_and_is_named() -> None:
    found = comparison(peers=False)
    assert misses(found) == []
    assert table(found).count("| not measured |") == 7
    assert "\nLeft out: vllm-router (no).\n" in table(found)
    assert len(misses(comparison({"resident_mib": 90.0}, peers=False))) == 1


def test_the_table_has_a_row_for_each_gateway() -> None:
    lines = table(comparison()).splitlines()
    assert lines[3] == "| vllm-router 0.1 | 14,000 | 70.0 | 220 | 4,000 | 9.0 | 20.0 | 100 | 3 |"
    assert lines[4] == "| **Headgate** | 14,000 | 40.0 | 200 | 2,000 | 5.0 | 17.0 | 60 | 0 |"
    assert "![CPU per request and per event](performance/peers.svg)" in lines


def test_the_chart_names_every_gateway_twice() -> None:
    words = [each.text for each in ET.fromstring(chart(comparison()).file()).iter("{http://www.w3.org/2000/svg}text")]
    assert [word for word in words if word in ("nginx 1.2", "vllm-router 0.1", "Headgate")] == [
        "nginx 1.2",
        "vllm-router 0.1",
        "Headgate",
    ] * 2
    assert {"16.0", "70.0", "40.0", "14.0", "20.0", "17.0"} <= set(words)
