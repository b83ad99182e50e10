"""A gateway in the test's own loop, in front of whatever engines the test has."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engines.tuning.records import TRAIN
from gateway.app import Gateway
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from tests.kit.eventually import PATIENCE
from tests.kit.wire import Wire


class RunningGateway:
    """A started gateway and what a test asks of it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.address = gateway.plane.address
        self.control = gateway.control_address

    def __repr__(self) -> str:
        return repr(self.gateway)

    async def wire(self, **options: Any) -> Wire:
        """Open a raw connection as a client."""
        return await Wire.connect_to(self.address, **options)

    async def until_ready(self, models: Iterable[str]) -> None:
        """Ask the control plane until all of these models can answer."""
        async with asyncio.timeout(PATIENCE), await Wire.connect_to(self.control) as wire:
            while True:
                await wire.request("GET", "/status")
                listed = (await wire.response()).json["models"]
                if {each["model"] for each in listed if any(r["ready"] for r in each["replicas"])} >= set(models):
                    return
                await asyncio.sleep(0.01)

    async def metrics(self) -> str:
        """Scrape the metrics, as Prometheus does."""
        async with await Wire.connect_to(self.control) as wire:
            await wire.request("GET", "/metrics")
            return (await wire.response()).body.decode()


def remote(*urls: str, **options: Any) -> dict[str, Any]:
    """Configure a model whose engines run already."""
    return {"engine": "remote", "urls": list(urls), "health_interval": 0.05, **options}


@asynccontextmanager
async def gateway(
    models: Mapping[str, Mapping[str, Any]],
    *,
    ready: Iterable[str] | None = None,
    train: Sequence[str] = TRAIN,
    log: io.StringIO | None = None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """Run a gateway with these models and settings of ``[gateway]``; wait until ``ready`` (default: all) can answer.

    ``train`` is the command that runs a fine-tuning job; what the operator is told is written into ``log``.
    """
    base = {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", "access_log": "off", "drain_timeout": 5.0}
    config = Config.model_validate({"gateway": base | settings, "models": models})
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        built = Gateway(config, Path(folder), StartupLog(log or io.StringIO()), train=train)
        await built.start()
        try:
            running = RunningGateway(built)
            await running.until_ready(models if ready is None else ready)
            yield running
        finally:
            if not built.plane.draining:
                await built.stop()
