"""The engine's HTTP server in the test's own loop, run as its command line runs it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from engines.onnx.http.server import MAX_BODY_BYTES, Server
from engines.onnx.model.model import Model
from engines.onnx.model.tasks import EachRow
from engines.onnx.model.tokens import TokenIds
from engines.onnx.serving.batcher import Batcher, Compute, Observer
from engines.onnx.serving.metrics import Metrics
from engines.onnx.serving.repository import Recipe, Repository
from tests.kit.eventually import PATIENCE
from tests.kit.wire import Response, Wire


class Running:
    """A server that answers, and what a test asks of it."""

    def __init__(self, address: str, batcher: Batcher, repository: Repository) -> None:
        self.address = address
        self.batcher = batcher
        self.repository = repository

    async def wire(self) -> Wire:
        """Open a raw connection."""
        return await Wire.connect_to(self.address)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send one request on a connection of its own."""
        async with await self.wire() as wire:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            await wire.request(method, path, body, named)
            return await wire.response()

    async def until(self, state: str) -> None:
        """Wait until the batcher's ``repr`` says this."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if state in repr(self.batcher):
                    return
                await asyncio.sleep(0.001)

    async def metric(self, series: str) -> float:
        """Scrape one series, named without the prefix of all."""
        text = (await self.ask("GET", "/metrics")).body.decode()
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"headgate_onnx_{series} ")]
        return float(found[0]) if found else 0.0


class Held:
    """A model's computation that waits in its thread until it is released."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._released = threading.Event()

    def __call__(self, texts: Sequence[TokenIds]) -> EachRow:
        assert self._released.wait(PATIENCE), "nobody released the computation"
        return self._model.compute(texts)

    def release(self) -> None:
        """Let everything through from now on."""
        self._released.set()


@asynccontextmanager
async def serving(
    model: Model,
    *,
    compute: Compute | None = None,
    room: int = 65536,
    max_body_bytes: int = MAX_BODY_BYTES,
    recipe: Recipe | None = None,
    folder: Path | None = None,
) -> AsyncIterator[Running]:
    """Serve a model with one thread on a Unix socket until the block ends; others come from a recipe or a folder."""
    metrics = Metrics(model.name)

    def make_batcher(loaded: Model, observer: Observer) -> Batcher:
        chosen = compute if compute is not None and loaded is model else loaded.compute
        budget = loaded.budget
        return Batcher(
            chosen,
            observer,
            threads=1,
            rate=budget.rate,
            max_waiting_tokens=room,
            token_budget=budget.tokens,
        )

    repository = Repository(metrics, make_batcher, folder)
    batcher = repository.put(model, recipe).batcher
    application = Server(repository, metrics, threads=1).application(max_body_bytes)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="hg-") as short:
        path = Path(short) / "s"
        await web.UnixSite(runner, path).start()
        try:
            yield Running(f"unix:{path}", batcher, repository)
        finally:
            if isinstance(compute, Held):
                compute.release()
            await runner.cleanup()
