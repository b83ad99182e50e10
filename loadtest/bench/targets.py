"""The performance targets of Headgate beside other gateways, and whether a comparison met them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.svg.bar_chart import bar_chart
from loadtest.svg.drawing import Drawing


@dataclass(frozen=True, slots=True)
class PerformanceTarget:
    """At most so many times a peer's figure, or at most so much where there is no peer."""

    what: str
    figure: str
    most: float
    peer: str | None = None


TARGETS: tuple[PerformanceTarget, ...] = (
    PerformanceTarget("CPU per request", "request_cpu_us", 0.60, "vllm-router"),
    PerformanceTarget("CPU per request", "request_cpu_us", 2.6, "nginx"),
    PerformanceTarget("CPU per event, one each 10 ms", "paced_event_cpu_us", 0.90, "vllm-router"),
    PerformanceTarget("CPU per event, one each 10 ms", "paced_event_cpu_us", 1.35, "nginx"),
    PerformanceTarget("CPU per event, 66 at once", "at_once_event_cpu_us", 1.2, "nginx"),
    PerformanceTarget("p50, one connection", "alone_p50_us", 1.0, "vllm-router"),
    PerformanceTarget("p99, 32 connections", "busy_p99_us", 0.7, "vllm-router"),
    PerformanceTarget("RSS MiB after the run", "resident_mib", 80.0),
)


@dataclass(frozen=True, slots=True)
class TargetResult:
    """A target beside what was measured; ``measured`` is ``None`` where its peer was left out."""

    target: PerformanceTarget
    measured: float | None

    @property
    def met(self) -> bool:
        """Whether nothing that was measured misses it."""
        return self.measured is None or self.measured <= self.target.most

    @property
    def verdict(self) -> str:
        """The result in a word."""
        if self.measured is None:
            return "not measured"
        return "met" if self.met else "**missed**"

    @property
    def cells(self) -> tuple[str, str, str]:
        """What the target is about, what was measured, and the target itself."""
        target = self.target
        if target.peer is None:
            return target.what, f"{self.measured:.0f}", f"≤ {target.most:g}"
        measured = "" if self.measured is None else f"{self.measured:.2f} times {target.peer}'s"
        return target.what, measured, f"≤ {target.most:.2f}"


def judge(found: Mapping[str, Any]) -> list[TargetResult]:
    """Compare the medians with every target."""
    medians = {each["name"]: each["medians"] for each in found["gateways"]}
    ours = medians["headgate"]
    results = []
    for target in TARGETS:
        measured: float | None = ours[target.figure]
        if target.peer is not None:
            theirs = medians.get(target.peer)
            # TargetResult as it is shown: no measurement here is as good as a hundredth.
            measured = None if theirs is None else round(ours[target.figure] / theirs[target.figure], 2)
        results.append(TargetResult(target, measured))
    return results


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return the targets that were missed, in words."""
    return ["peers: {}: {}, target {}".format(*result.cells) for result in judge(found) if not result.met]


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each gateway, the plot, and a row for each target, in Markdown."""
    lines = [
        "| | requests/s, 32 connections | CPU µs per request | p50 µs, one connection | p99 µs, 32 connections "
        "| CPU µs per event, 66 at once | CPU µs per event, one each 10 ms in 200 streams | RSS MiB | failed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for gateway in found["gateways"]:
        each = gateway["medians"]
        lines.append(
            f"| {gateway['title']} | {each['requests_per_second']:,.0f} | {each['request_cpu_us']:.1f} "
            f"| {each['alone_p50_us']:,.0f} | {each['busy_p99_us']:,.0f} | {each['at_once_event_cpu_us']:.1f} "
            f"| {each['paced_event_cpu_us']:.1f} | {each['resident_mib']:.0f} | {gateway['failed']} |"
        )
    for name, reason in found["left_out"].items():
        lines += ["", f"Left out: {name} ({reason})."]
    lines += ["", "![CPU per request and per event](performance/peers.svg)", ""]
    lines += ["| Headgate | measured | target | |", "|---|--:|--:|---|"]
    for result in judge(found):
        what, measured, wanted = result.cells
        lines.append(f"| {what} | {measured} | {wanted} | {result.verdict} |")
    return "\n".join(lines)


def chart(found: Mapping[str, Any]) -> Drawing:
    """Draw what one request and one event cost in each gateway."""

    def cost(figure: str) -> list[tuple[str, float]]:
        return [(each["title"].strip("*").partition(",")[0], each["medians"][figure]) for each in found["gateways"]]

    panels = [
        ("per request, 32 connections", cost("request_cpu_us")),
        ("per streamed event, 200 streams of one each 10 ms", cost("paced_event_cpu_us")),
    ]
    return bar_chart("CPU time of the gateway, in microseconds", panels, marked="Headgate")
