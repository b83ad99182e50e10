"""What a lone client waits for one short text, beside the session's own time."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from statistics import median

from gateway.http.address import Address
from loadtest import workload
from loadtest.bench.onnx import servers
from loadtest.bench.onnx.ceiling import lone
from loadtest.bench.onnx.subject import Subject
from loadtest.workload import Request

_TOKENS = 16
_ROUNDS = 10
_PAUSE = 0.001
"""Seconds between two runs of a lone text: what a client leaves between a response and its next request."""
_READ_BYTES = 1 << 20


async def measure(subject: Subject) -> None:
    """Compare what a lone client waits for a short text with the session's own time."""
    text = workload.text(_TOKENS - 2, 0)
    (ids,) = subject.encode([text])
    request = subject.request([text])
    seconds = subject.options.seconds / _ROUNDS / 4
    busy: list[float] = []
    session: list[float] = []
    waits: dict[str, list[float]] = {"the engine": [], "through the gateway": []}
    async with servers.engine(subject) as engine, servers.gateway(engine) as gateway:
        # In turns, because a machine is not equally fast all the time.
        for _ in range(_ROUNDS):
            busy += lone(subject.model, ids, seconds)
            session += lone(subject.model, ids, seconds, _PAUSE)
            for found, url in zip(waits.values(), (engine.address, gateway.address), strict=True):
                found += await asyncio.to_thread(one_by_one, url, request, seconds)
    label = f"one text of {len(ids)} tokens, p50:"
    own = median(session) * 1000
    print(f"{label} {median(busy) * 1000:6.2f} ms  the session alone, without a pause")
    print(f"{label} {own:6.2f} ms  the session alone, {_PAUSE * 1000:g} ms after the last")
    for name, found in waits.items():
        p50 = median(found) * 1000
        print(f"{label} {p50:6.2f} ms  {name} (+{p50 - own:.2f} ms)", flush=True)


def one_by_one(url: str, request: Request, seconds: float, pause: float = 0.0) -> list[float]:
    """Return the seconds of each request of a client that does nothing but wait, and ``pause`` before the next.

    It blocks on a plain socket: what an event loop or an HTTP library does for a request would be part of the wait.
    """
    lines = (f"POST {request.path} HTTP/1.1", "host: a", "content-type: application/json")
    head = "\r\n".join((*lines, f"content-length: {len(request.body)}", "", ""))
    found = []
    with _connected(url) as connection:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            connection.sendall(head.encode() + request.body)
            got = connection.recv(_READ_BYTES)
            length = re.search(rb"content-length: (\d+)", got, re.IGNORECASE)
            assert length is not None, got
            while len(got) < got.index(b"\r\n\r\n") + 4 + int(length[1]):
                got += connection.recv(_READ_BYTES)
            found.append(time.perf_counter() - start)
            if pause:
                time.sleep(pause)
    return found


def _connected(url: str) -> socket.socket:
    address = Address.parse(url)
    if address.path is None:
        return socket.create_connection((address.host, address.port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address.path)
    return connection
