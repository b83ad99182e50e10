"""What Headgate promises beside other gateways, and whether a comparison kept it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.bench import bars


@dataclass(frozen=True, slots=True)
class Promise:
    """At most so many times a peer's figure, or at most so much where there is no peer."""

    what: str
    figure: str
    most: float
    peer: str | None = None


PROMISES: tuple[Promise, ...] = (
    Promise("CPU per request", "request_cpu_us", 0.60, "vllm-router"),
    Promise("CPU per request", "request_cpu_us", 2.6, "nginx"),
    Promise("CPU per event, one each 10 ms", "paced_event_cpu_us", 0.90, "vllm-router"),
    Promise("CPU per event, one each 10 ms", "paced_event_cpu_us", 1.35, "nginx"),
    Promise("CPU per event, 66 at once", "at_once_event_cpu_us", 1.2, "nginx"),
    Promise("p50, one connection", "alone_p50_us", 1.0, "vllm-router"),
    Promise("p99, 32 connections", "busy_p99_us", 0.7, "vllm-router"),
    Promise("RSS MiB after the run", "resident_mib", 80.0),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A promise beside what was measured; ``measured`` is ``None`` where its peer was left out."""

    promise: Promise
    measured: float | None

    @property
    def kept(self) -> bool:
        """Whether nothing that was measured breaks it."""
        return self.measured is None or self.measured <= self.promise.most

    @property
    def verdict(self) -> str:
        """Say it in a word."""
        if self.measured is None:
            return "not measured"
        return "kept" if self.kept else "**missed**"

    @property
    def said(self) -> tuple[str, str, str]:
        """Say what it is about, what was measured, and what must be."""
        promise = self.promise
        if promise.peer is None:
            return promise.what, f"{self.measured:.0f}", f"≤ {promise.most:g}"
        measured = "" if self.measured is None else f"{self.measured:.2f} times {promise.peer}'s"
        return promise.what, measured, f"≤ {promise.most:.2f}"


def judged(found: Mapping[str, Any]) -> list[Judged]:
    """Hold every promise against the medians."""
    medians = {each["name"]: each["medians"] for each in found["gateways"]}
    ours = medians["headgate"]
    judgements = []
    for promise in PROMISES:
        measured: float | None = ours[promise.figure]
        if promise.peer is not None:
            theirs = medians.get(promise.peer)
            # Judged as it is shown: no measurement here is as good as a hundredth.
            measured = None if theirs is None else round(ours[promise.figure] / theirs[promise.figure], 2)
        judgements.append(Judged(promise, measured))
    return judgements


def misses(found: Mapping[str, Any]) -> list[str]:
    """Say which promises were not kept."""
    return ["peers: {}: {}, must be {}".format(*judgement.said) for judgement in judged(found) if not judgement.kept]


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each gateway, the plot, and a row for each promise, in Markdown."""
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
    lines += ["| Headgate | measured | must be | |", "|---|--:|--:|---|"]
    for judgement in judged(found):
        what, measured, wanted = judgement.said
        lines.append(f"| {what} | {measured} | {wanted} | {judgement.verdict} |")
    return "\n".join(lines)


def plot(found: Mapping[str, Any]) -> str:
    """Draw what one request and one event cost in each gateway, as an SVG picture."""

    def cost(figure: str) -> list[tuple[str, float]]:
        return [(each["title"].strip("*").partition(",")[0], each["medians"][figure]) for each in found["gateways"]]

    panels = [
        ("per request, 32 connections", cost("request_cpu_us")),
        ("per streamed event, 200 streams of one each 10 ms", cost("paced_event_cpu_us")),
    ]
    return bars.svg("CPU time of the gateway, in microseconds", panels, marked="Headgate")
