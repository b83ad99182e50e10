"""The servers that a model is measured on: the engine, the gateway before it, and what they are compared with."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from loadtest.bench.cpu_affinity import AVAILABLE_CPUS
from loadtest.bench.launch import Server, free_port, launched, python
from loadtest.bench.onnx.subject import MODEL, Subject
from loadtest.http_client import HttpClient, HttpError

ALL_CPUS = frozenset(AVAILABLE_CPUS)
_NOT_READY = 503


@asynccontextmanager
async def engine(subject: Subject, cpus: frozenset[int] = ALL_CPUS) -> AsyncIterator[Server]:
    """Run the engine on the model, on these CPUs."""
    options = subject.options
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        path = f"{folder}/s"
        given = ["--model-name", MODEL, "--folder", str(options.folder), "--uds", path]
        given += ["--task", subject.task, "--threads", str(min(options.threads, len(cpus)))]
        given += ["--labels", options.labels] if options.labels else []
        async with launched(python("engines.onnx", *given), cpus) as process:
            await process.until_ready(_responds(f"unix:{path}", "/health"))
            yield Server(f"unix:{path}", process.pid)


@asynccontextmanager
async def gateway(engine: Server, cpus: frozenset[int] = ALL_CPUS) -> AsyncIterator[Server]:
    """Run the gateway in front of an engine, on these CPUs."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        config = Path(folder) / "models.toml"
        config.write_text(f'[models.{MODEL}]\nengine = "remote"\nurls = ["{engine.address}"]\n')
        given = ["serve", "--config", str(config), "--listen", address, "--control", "127.0.0.1:0"]
        async with launched(python("gateway", *given), cpus) as process:
            await process.until_ready(_responds(f"http://{address}", f"/v1/models/{MODEL}"))
            yield Server(f"http://{address}", process.pid)


@asynccontextmanager
async def naive_server(subject: Subject) -> AsyncIterator[Server]:
    """Run the naive server on the model."""
    port = free_port()
    given = ["--folder", str(subject.options.folder), "--task", subject.task, "--port", str(port)]
    given += ["--max-length", str(subject.model.tokenizer.max_length)]
    async with launched(python("loadtest.bench.onnx.naive", *given), ALL_CPUS) as process:
        await process.until_ready(_responds(f"http://127.0.0.1:{port}", "/"))
        yield Server(f"http://127.0.0.1:{port}", process.pid)


@asynccontextmanager
async def infinity(subject: Subject) -> AsyncIterator[Server]:
    """Run infinity-emb with its ONNX engine on the model, by the interpreter that has it."""
    options = subject.options
    port = free_port()
    # It finds the graph of a local model only from within its folder.
    given = ["v2", "--model-id", ".", "--engine", "optimum", "--served-model-name", MODEL, "--device", "cpu"]
    given += ["--url-prefix", "/v1", "--host", "127.0.0.1", "--port", str(port), "--no-model-warmup"]
    given += ["--pooling-method", "mean", "--log-level", "error"]
    command = [str(options.infinity.absolute()), "-c", "from infinity_emb.cli import cli; cli()", *given]
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    async with launched(command, ALL_CPUS, folder=options.infinity_model, environment=quiet) as process:
        await process.until_ready(_responds(f"http://127.0.0.1:{port}", "/v1/models"))
        yield Server(f"http://127.0.0.1:{port}", process.pid)


def _responds(url: str, path: str) -> Callable[[], Awaitable[bool]]:
    """Return a probe that is true once a server responds with anything but that it is not ready."""

    async def probe() -> bool:
        try:
            async with HttpClient(url) as client:
                return (await client.get(path)).status != _NOT_READY
        except HttpError:
            return False

    return probe
