"""How good the ONNX engine is, against the most that the machine can do: ``python -m loadtest.onnx``."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import msgspec
import uvloop

from engines.onnx.model.model import Model, load
from engines.onnx.model.tokens import TokenIds
from engines.onnx.protocol.requests import InputRequest
from gateway.http.address import Address
from loadtest import arrivals, workload
from loadtest.bench.cores import AVAILABLE, on
from loadtest.bench.deployment import Running
from loadtest.bench.serving import free_port
from loadtest.ceiling import Ceiling, ceiling, lone
from loadtest.load import Load
from loadtest.summary import summarise
from loadtest.workload import Ask

_EXAMPLES = """\
examples:
  python -m loadtest.onnx --folder ~/.cache/headgate/files/… --task embed
  python -m loadtest.onnx --folder … --task classify --labels benign,injection --part memory --part padding
  python -m loadtest.onnx --folder … --task embed --part padding --texts sentences.txt
  python -m loadtest.onnx --folder … --task embed --part throughput --infinity venv/bin/python --infinity-model DIR
"""

_MODEL = "model"
_SHORTEST, _LONGEST = 16, 64
_ALL_CORES = frozenset(AVAILABLE)
_READY_SECONDS = 120
_BATCH = 32
_READ_BYTES = 1 << 20
_ROUNDS = 10
_PAUSE = 0.001
"""Seconds between two runs of a lone text: what a client leaves between an answer and its next request."""
_OVERLOAD = (0.8, 1.0, 1.5, 2.0)
_OVERLOAD_ROUNDS = 3
_PATHS: Mapping[str, str] = {"embed": "/v1/embeddings", "classify": "/classify"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: the model in this process, the texts, and how it is served."""

    model: Model
    task: str
    texts: list[str]
    options: argparse.Namespace

    @property
    def tokens(self) -> list[TokenIds]:
        """The texts as the engine sees them."""
        return self.model.tokenizer.encode(InputRequest(input=list(self.texts), truncate_prompt_tokens=-1))

    def asks(self, size: int = 1, *, count: int = 2000) -> list[Ask]:
        """Make requests of ``size`` texts each."""
        draw = random.Random(1)  # noqa: S311 - a reproducible load, nothing secret
        found = []
        for _ in range(count if size == 1 else count // size):
            texts = draw.choices(self.texts, k=size)
            fields = {"model": _MODEL, "input": texts[0] if size == 1 else texts, "truncate_prompt_tokens": -1}
            found.append(Ask(_PATHS[self.task], msgspec.json.encode(fields)))
        return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.onnx",
        description="Measure the ONNX engine against the most that ONNX Runtime can do with the same model here.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--folder", type=Path, required=True, metavar="DIR", help="the model's folder; `headgate models` says where")
    add("--task", choices=sorted(_PATHS), required=True, help="what the model does")
    add("--labels", default="", metavar="A,B", help="its labels, if its files do not say")
    add("--part", action="append", choices=sorted(PARTS), default=[], help="measure only this; may be repeated")
    add("--texts", type=Path, metavar="FILE", help="texts, one a line (default: made up, 16 to 64 tokens)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="threads (%(default)s)")
    add("--clients", type=int, default=64, metavar="N", help="clients at once (%(default)s)")
    add("--seconds", type=float, default=15.0, metavar="S", help="how long each load lasts (%(default)s)")
    add("--requests", type=int, default=10_000, metavar="N", help="requests of the memory test (%(default)s)")
    add("--timeout-ms", type=int, default=1000, metavar="MS", help="time of a request under overload (%(default)s)")
    add("--infinity", type=Path, metavar="PYTHON", help="measure infinity-emb too, installed for this interpreter")
    add("--infinity-model", type=Path, metavar="DIR", help="the same model.onnx with config.json and tokenizer")
    return command


async def throughput(subject: Subject) -> None:
    """Compare texts per second with the ceiling, with a naive server, and with infinity-emb if it is there."""
    options, lengths = subject.options, [len(each) for each in subject.tokens]
    best = ceiling(subject.model, subject.tokens, options.threads, options.seconds)
    _say(f"texts have {min(lengths)} to {max(lengths)} tokens, {sum(lengths) / len(lengths):.1f} on average")
    _row("ceiling: ONNX Runtime offline, sorted by length", best.texts, best.cpu, best)
    fewer = max(1, options.clients // 8)
    async with serving(subject) as engine, gateway(engine) as door:
        for name, servers, clients, size in (
            (f"gateway, {options.clients} clients, one text a request", (door, engine), options.clients, 1),
            (f"gateway, {fewer} clients, {_BATCH} texts a request", (door, engine), fewer, _BATCH),
            (f"engine alone, {options.clients} clients, one text a request", (engine,), options.clients, 1),
        ):
            await _rate(name, servers, subject, clients, size, best)
    for name, other in (("naive server", naive(subject)), ("infinity-emb", infinity(subject))):
        async with other as server:
            if server is not None:
                await _rate(name, (server,), subject, options.clients, 1, best)


async def alone(subject: Subject) -> None:
    """Compare what a lone client waits for a short text with the session's own time."""
    text = workload.text(_SHORTEST - 2, 0)
    ids = subject.model.tokenizer.encode(InputRequest(input=text, truncate_prompt_tokens=-1))[0]
    ask = Ask(_PATHS[subject.task], msgspec.json.encode({"model": _MODEL, "input": text, "truncate_prompt_tokens": -1}))
    seconds = subject.options.seconds / _ROUNDS / 4
    busy: list[float] = []
    session: list[float] = []
    asked: dict[str, list[float]] = {"the engine": [], "through the gateway": []}
    async with serving(subject) as engine, gateway(engine) as door:
        # In turns, because a machine is not equally fast all the time.
        for _ in range(_ROUNDS):
            busy += lone(subject.model, ids, seconds)
            session += lone(subject.model, ids, seconds, _PAUSE)
            for found, url in zip(asked.values(), (engine.address, door.address), strict=True):
                found += await asyncio.to_thread(_one_by_one, url, ask, seconds)
    own = median(session) * 1000
    _say(f"one text of {len(ids)} tokens, p50: {median(busy) * 1000:6.2f} ms  the session alone, without a pause")
    _say(f"one text of {len(ids)} tokens, p50: {own:6.2f} ms  the session alone, {_PAUSE * 1000:g} ms after the last")
    for name, found in asked.items():
        p50 = median(found) * 1000
        _say(f"one text of {len(ids)} tokens, p50: {p50:6.2f} ms  {name} (+{p50 - own:.2f} ms)")


async def memory(subject: Subject) -> None:
    """HealthCheck the engine's memory over thousands of requests of all lengths."""
    draw = random.Random(2)  # noqa: S311 - a reproducible load, nothing secret
    longest = subject.model.tokenizer.max_length - 2
    asks = []
    for number in range(subject.options.requests):
        size = draw.choice((1, 1, 1, 1, 2, 4)) if number % 100 else 32
        texts = [
            workload.text(min(longest, int(draw.lognormvariate(3, 0.9)) + 1), number + each) for each in range(size)
        ]
        asks.append(
            Ask(
                _PATHS[subject.task],
                msgspec.json.encode({"model": _MODEL, "input": texts, "truncate_prompt_tokens": -1}),
            )
        )
    async with serving(subject) as engine:
        seen = []
        tenth = len(asks) // 10
        for begin in range(0, tenth * 10, tenth):
            await _all(engine.address, asks[begin : begin + tenth], 16)
            seen.append(engine.resident_bytes / 2**20)
        _say("memory after each tenth, MiB: " + " ".join(f"{each:.0f}" for each in seen))
        _say(f"from the first tenth to the last of {len(asks)} requests: {(seen[-1] / seen[0] - 1):+.1%}")


async def padding(subject: Subject) -> None:
    """Tell how much of what is computed is padding."""
    async with serving(subject) as engine:
        await _closed(engine.address, subject.asks(), subject.options.clients, subject.options.seconds)
        counted = await _scrape(engine.address)
        real, computed = (counted[f'tokens_total{{kind="{kind}",model="{_MODEL}"}}'] for kind in ("real", "computed"))
        _say(f"real tokens / computed tokens: {real / computed:.3f} ({real:.0f} of {computed:.0f})")


async def overload(subject: Subject) -> None:
    """Offer more than the engine can do, and count the answers that come in time.

    Client and gateway would take from the engine what they need for requests that it refuses. So it has the cores but
    the first for itself where there are several. Loads take turns: a machine is not equally fast all the time.
    """
    options = subject.options
    header = (("x-request-timeout-ms", str(options.timeout_ms)),)
    goods: dict[float, list[float]] = {factor: [] for factor in _OVERLOAD}
    ours, engines = frozenset(AVAILABLE[:1]), frozenset(AVAILABLE[1:] or AVAILABLE)
    async with serving(subject, engines) as engine, gateway(engine, ours) as door:
        with on(ours):
            found = await _closed(door.address, subject.asks(), options.clients, options.seconds / 2)
            most = found["request_throughput"]
            _say(f"sustainable: {most:.1f} requests/s")
            for number, factor in product(range(_OVERLOAD_ROUNDS), _OVERLOAD):
                load = Load(door.address, headers=header)
                times = arrivals.poisson(most * factor, options.seconds, 3)
                await load.open_loop(subject.asks(), times)
                load.close()
                found = summarise(load.records, slos={"e2el": options.timeout_ms}, cpu_seconds=load.cpu_seconds)
                goods[factor].append(found["request_goodput"])
                _say(
                    f"offered {factor:.1f} times as much: goodput {goods[factor][-1]:.1f}/s of "
                    f"{found['offered_rate']:.1f}/s, p50 {_ms(found, 50)}, p99 {_ms(found, 99)}, "
                    f"{found['errors'] or 'no errors'} (round {number + 1})"
                )
    most_offered, best = _OVERLOAD[-1], max(map(median, goods.values()))
    share = median(goods[most_offered]) / best
    _say(f"goodput at {most_offered} times the sustainable load is {share:.1%} of its peak")


PARTS: Mapping[str, Callable[[Subject], Any]] = {
    "throughput": throughput,
    "alone": alone,
    "padding": padding,
    "overload": overload,
    "memory": memory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    labels = tuple(filter(None, options.labels.split(",")))
    model = load(_MODEL, options.folder, options.task, labels=labels)
    if options.texts is None:
        draw = random.Random(0)  # noqa: S311 - reproducible texts, nothing secret
        texts = [workload.text(draw.randint(_SHORTEST, _LONGEST) - 2, number) for number in range(1000)]
    else:
        texts = [line for line in options.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    subject = Subject(model, options.task, texts, options)
    for part in options.part or PARTS:
        _say(f"\n{part}")
        uvloop.run(PARTS[part](subject))
    return 0


@asynccontextmanager
async def serving(subject: Subject, where: frozenset[int] = _ALL_CORES) -> AsyncIterator[Running]:
    """Run the engine on the model, on these cores."""
    options = subject.options
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        path = f"{folder}/s"
        command = ["-m", "engines.onnx", "--model-name", _MODEL, "--folder", str(options.folder), "--uds", path]
        command += ["--task", subject.task, "--threads", str(min(options.threads, len(where)))]
        command += ["--labels", options.labels] if options.labels else []
        async with _process(sys.executable, *command, where=where) as process:
            await _until_answered(f"unix:{path}", "/health", process)
            yield Running(f"unix:{path}", process.pid)


@asynccontextmanager
async def gateway(engine: Running, where: frozenset[int] = _ALL_CORES) -> AsyncIterator[Running]:
    """Run the gateway in front of an engine, on these cores."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        config = Path(folder) / "models.toml"
        config.write_text(f'[models.{_MODEL}]\nengine = "remote"\nurls = ["{engine.address}"]\n')
        command = ["-m", "gateway", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        async with _process(sys.executable, *command, "--control", "127.0.0.1:0", where=where) as process:
            await _until_answered(f"http://127.0.0.1:{port}", f"/v1/models/{_MODEL}", process)
            yield Running(f"http://127.0.0.1:{port}", process.pid)


@asynccontextmanager
async def naive(subject: Subject) -> AsyncIterator[Running]:
    """Run the naive server on the model."""
    port = free_port()
    command = ["-m", "loadtest.naive", "--folder", str(subject.options.folder), "--task", subject.task]
    command += ["--port", str(port), "--max-length", str(subject.model.tokenizer.max_length)]
    async with _process(sys.executable, *command) as process:
        await _until_answered(f"http://127.0.0.1:{port}", "/", process)
        yield Running(f"http://127.0.0.1:{port}", process.pid)


@asynccontextmanager
async def infinity(subject: Subject) -> AsyncIterator[Running | None]:
    """Run infinity-emb with its ONNX engine on the model; ``None`` if it is not there."""
    options = subject.options
    if options.infinity is None or subject.task != "embed":
        yield None
        return
    port = free_port()
    # It finds the graph of a local model only from within its folder.
    command = ["-c", "from infinity_emb.cli import cli; cli()", "v2", "--model-id", ".", "--engine", "optimum"]
    command += ["--served-model-name", _MODEL, "--device", "cpu", "--url-prefix", "/v1", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--no-model-warmup", "--pooling-method", "mean", "--log-level", "error"]
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    async with _process(
        str(options.infinity.absolute()), *command, cwd=options.infinity_model, environment=quiet
    ) as process:
        await _until_answered(f"http://127.0.0.1:{port}", "/v1/models", process)
        yield Running(f"http://127.0.0.1:{port}", process.pid)


@asynccontextmanager
async def _process(
    *command: str,
    cwd: Path | None = None,
    where: frozenset[int] = _ALL_CORES,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[asyncio.subprocess.Process]:
    nowhere = asyncio.subprocess.DEVNULL
    with on(where):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=nowhere, stderr=nowhere, cwd=cwd, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_answered(url: str, path: str, process: asyncio.subprocess.Process) -> None:
    """Wait until a server answers anything but that it is not ready."""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        if process.returncode is not None:
            raise RuntimeError(f"the server at {url} ended with {process.returncode}")
        if await _get(url, path):
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the server at {url} did not become ready")


async def _get(url: str, path: str) -> bytes:
    """Give the body of an answer and its head; nothing while nobody answers, or is not ready."""
    try:
        address = Address.parse(url)
        if address.path is not None:
            reader, writer = await asyncio.open_unix_connection(address.path)
        else:
            reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        body = await reader.read(-1)
        writer.close()
    except OSError:
        return b""
    return b"" if b" 503 " in body[:16] else body


async def _scrape(url: str) -> dict[str, float]:
    """Read the engine's series, without the prefix of all."""
    lines = (await _get(url, "/metrics")).decode().splitlines()
    found = (line.removeprefix("headgate_onnx_").rpartition(" ") for line in lines if line.startswith("headgate_onnx_"))
    return {name: float(value) for name, _, value in found}


async def _closed(url: str, asks: Sequence[Ask], clients: int, seconds: float) -> dict[str, Any]:
    """Let clients ask without a pause, after a short warm-up."""
    load = Load(url)
    try:
        await load.closed_loop(asks, clients, min(2.0, seconds / 5))
        load.records.clear()
        load.cpu_seconds = 0.0
        await load.closed_loop(asks, clients, seconds)
    finally:
        load.close()
    return summarise(load.records, cpu_seconds=load.cpu_seconds)


def _one_by_one(url: str, ask: Ask, seconds: float) -> list[float]:
    """Give the seconds of each request of a client that does nothing but wait: its own work would count otherwise."""
    lines = (f"POST {ask.path} HTTP/1.1", "host: a", "content-type: application/json")
    head = "\r\n".join((*lines, f"content-length: {len(ask.body)}", "", ""))
    found = []
    with _connected(url) as connection:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            connection.sendall(head.encode() + ask.body)
            got = connection.recv(_READ_BYTES)
            length = re.search(rb"content-length: (\d+)", got, re.IGNORECASE)
            assert length is not None, got
            while len(got) < got.index(b"\r\n\r\n") + 4 + int(length[1]):
                got += connection.recv(_READ_BYTES)
            found.append(time.perf_counter() - start)
    return found


def _connected(url: str) -> socket.socket:
    address = Address.parse(url)
    if address.path is None:
        return socket.create_connection((address.host, address.port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address.path)
    return connection


async def _all(url: str, asks: Sequence[Ask], at_once: int) -> None:
    """Ask everything once."""
    for begin in range(0, len(asks), at_once):
        load = Load(url)
        group = asks[begin : begin + at_once]
        await load.open_loop(group, [0.0] * len(group))
        load.close()
        failed = [record.error for record in load.records if record.error]
        if failed:
            raise RuntimeError(f"a request failed: {failed[0]}")


async def _rate(
    name: str, servers: Sequence[Running], subject: Subject, clients: int, size: int, best: Ceiling
) -> None:
    """Put load on the first of some servers, and tell what all of them needed for a text."""
    options = subject.options
    load = Load(servers[0].address)
    asks = subject.asks(size)
    try:
        await load.closed_loop(asks, clients, min(2.0, options.seconds / 5))
        load.records.clear()
        load.cpu_seconds = 0.0
        used = sum(server.cpu_seconds for server in servers)
        await load.closed_loop(asks, clients, options.seconds)
        used = sum(server.cpu_seconds for server in servers) - used
    finally:
        load.close()
    found = summarise(load.records, cpu_seconds=load.cpu_seconds)
    texts = max(1, found["completed"] * size)
    note = f"p50 {_ms(found, 50)}, p99 {_ms(found, 99)}, {found['failed']} failed"
    _row(name, found["request_throughput"] * size, used / texts, best, note)


def _ms(found: Mapping[str, Any], percent: int) -> str:
    """Write a percentile of the time to the answer; there is none where nothing was answered."""
    value = found.get(f"p{percent}_e2el_ms")
    return "none" if value is None else f"{value:.0f} ms"


def _row(name: str, texts: float, cpu: float, best: Ceiling, note: str = "") -> None:
    """Tell texts per second and the processor's time for a text, each beside the ceiling."""
    shares = f"{texts / best.texts:6.1%}", f"{best.cpu / cpu if cpu else 0:6.1%}"
    _say(f"{name:<50}{texts:8.1f} texts/s {shares[0]}  {cpu * 1000:7.2f} ms CPU/text {shares[1]}  {note}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
