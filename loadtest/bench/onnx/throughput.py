"""Texts per second, beside the ceiling, a naive server, and infinity-emb if it is there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from loadtest.bench.launch import Server
from loadtest.bench.onnx import servers
from loadtest.bench.onnx.ceiling import Ceiling, ceiling
from loadtest.bench.onnx.closed_loop import closed_loop, percentile_ms
from loadtest.bench.onnx.subject import Subject

_BATCH = 32
"""Texts of one large request."""


async def measure(subject: Subject) -> None:
    """Compare texts per second with the ceiling, with a naive server, and with infinity-emb if it is there."""
    options, lengths = subject.options, [len(each) for each in subject.tokens]
    best = ceiling(subject.model, subject.tokens, options.threads, options.seconds)
    print(f"texts have {min(lengths)} to {max(lengths)} tokens, {sum(lengths) / len(lengths):.1f} on average")
    print(_row("ceiling: ONNX Runtime offline, sorted by length", best.texts, best.cpu, best), flush=True)
    many, few = options.clients, max(1, options.clients // 8)
    async with servers.engine(subject) as engine, servers.gateway(engine) as gateway:
        for name, measured, clients, size in (
            (f"gateway, {many} clients, one text a request", (gateway, engine), many, 1),
            (f"gateway, {few} clients, {_BATCH} texts a request", (gateway, engine), few, _BATCH),
            (f"engine alone, {many} clients, one text a request", (engine,), many, 1),
        ):
            print(await _measured(name, measured, subject, clients, size, best), flush=True)
    for name, other in _others(subject):
        async with other as server:
            print(await _measured(name, (server,), subject, many, 1, best), flush=True)


def _others(subject: Subject) -> Sequence[tuple[str, AbstractAsyncContextManager[Server]]]:
    """Return the servers that the engine is compared with; infinity-emb knows embeddings alone."""
    others = [("naive server", servers.naive_server(subject))]
    if subject.options.infinity is not None and subject.task == "embed":
        others.append(("infinity-emb", servers.infinity(subject)))
    return others


async def _measured(
    name: str, measured: Sequence[Server], subject: Subject, clients: int, size: int, best: Ceiling
) -> str:
    """Put load on the first of some servers; return the row of what all of them needed for a text."""
    found, used = await closed_loop(measured, subject.requests(size), clients, subject.options.seconds)
    texts = max(1, found["completed"] * size)
    note = f"p50 {percentile_ms(found, 50)}, p99 {percentile_ms(found, 99)}, {found['failed']} failed"
    return _row(name, found["request_throughput"] * size, used / texts, best, note)


def _row(name: str, texts: float, cpu: float, best: Ceiling, note: str = "") -> str:
    """Write texts per second and the processor's time for a text, each beside the ceiling."""
    shares = f"{texts / best.texts:6.1%}", f"{best.cpu / cpu if cpu else 0:6.1%}"
    return f"{name:<50}{texts:8.1f} texts/s {shares[0]}  {cpu * 1000:7.2f} ms CPU/text {shares[1]}  {note}"
