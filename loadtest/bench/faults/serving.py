"""Headgate in a process of its own, whose configuration is text that may change while it runs."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from loadtest.bench.cpu_affinity import AVAILABLE_CPUS
from loadtest.bench.launch import Server, launched, python
from loadtest.http_client import HttpClient
from loadtest.record import Record

_SERVES = re.compile(r"serves at (http://\S+) \(up after .*; metrics and probes at (http://\S+)\)")
_POLL_SECONDS = 0.02
_START_SECONDS = 600.0
"""A language model may have to be fetched, and loaded on a busy machine."""


class ServedGateway(Server):
    """Headgate, running: its address, that of its control plane, and its configuration."""

    def __init__(self, address: str, pid: int, control: HttpClient, control_address: str, file: Path) -> None:
        super().__init__(address, pid)
        self.control_address = control_address
        self._control = control
        self._file = file

    async def reconfigure(self, text: str) -> None:
        """Have it take over another configuration. Raises ``AssertionError`` where it refuses."""
        self._file.write_text(text)
        response = await self._control.post("/reload", b"")
        assert response.status == 200, response.text

    async def model(self, name: str) -> Mapping[str, Any]:
        """Return what ``/status`` says of a model."""
        listed = json.loads((await self._control.get("/status")).body)["models"]
        found: Mapping[str, Any] = next(each for each in listed if each["model"] == name)
        return found

    async def until(self, name: str, condition: Callable[[Sequence[Mapping[str, Any]]], bool]) -> None:
        """Wait until a condition holds of the replicas of a model, as ``/status`` shows them."""
        while True:
            if condition((await self.model(name))["replicas"]):
                return
            await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def serving(text: str, cpus: frozenset[int] = frozenset(AVAILABLE_CPUS)) -> AsyncIterator[ServedGateway]:
    """Run Headgate with a configuration, on these CPUs, until the block ends. Raises ``DidNotStart``."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-bench-")))
        file = folder / "models.toml"
        file.write_text(text)
        options = ["serve", "--config", str(file), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        process = await stack.enter_async_context(launched(python("gateway", *options), cpus))
        serves = await process.until_written(_SERVES, _START_SECONDS)
        control = await stack.enter_async_context(HttpClient(serves[2]))
        yield ServedGateway(serves[1], process.pid, control, serves[2], file)


def outcomes(records: Sequence[Record]) -> dict[str, int]:
    """Count requests by what became of them: ``ok``, or an error with what the server said."""
    found: dict[str, int] = {}
    for record in records:
        key = "ok" if record.succeeded else f"{record.status or 'cut'}: {record.error}"
        found[key] = found.get(key, 0) + 1
    return dict(sorted(found.items()))
