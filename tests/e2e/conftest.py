"""The gateway as its users run it: ``headgate serve`` in a process of its own, with the models of ``models.toml``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
import uvloop

from tests.kit.otlp import ThreadedReceiver, threaded_receiver

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 420
HANGING_SECONDS = 300
"""Far longer than any answer takes, even on a starved machine: it only keeps a failing test from hanging."""


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make the loops of all asynchronous tests below this folder."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True)
class Served:
    """A running gateway: its address for clients, its control address, its process, and what it wrote."""

    address: str
    control: str
    process: subprocess.Popen[bytes]
    panel: str
    access_log: Path

    def status(self) -> Mapping[str, dict[str, object]]:
        """Ask the control plane for the state of every model."""
        # Without authorities, which a client would load each time, as those ask often who wait for an engine.
        models = httpx.get(f"{self.control}/status", timeout=HANGING_SECONDS, verify=False).json()["models"]
        return {model["model"]: model for model in models}

    def logged(self, request_id: str) -> list[dict[str, object]]:
        """Wait until the access log tells of a request, which it does after the response; give what it tells."""
        deadline = monotonic() + HANGING_SECONDS
        while monotonic() < deadline:
            # What stands behind the last end of a line is still being written.
            whole, _, _ = self.access_log.read_text().rpartition("\n")
            lines = [json.loads(line) for line in whole.splitlines()]
            if found := [line for line in lines if line["request_id"] == request_id]:
                return found
            sleep(0.05)
        raise AssertionError(f"the access log does not tell of {request_id}")


@contextmanager
def serving(config: Path, **environment: str) -> Iterator[Served]:
    """Run ``headgate serve`` until the block ends; it must end cleanly then, unless the block killed it.

    Each gateway has a data folder of its own, as several run at a time.
    """
    with tempfile.TemporaryDirectory(prefix="hg-e2e-") as folder:
        environment.setdefault("XDG_DATA_HOME", folder)
        said = Path(folder) / "stderr"
        log = Path(folder) / "stdout"
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        command += ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        with said.open("wb") as stderr, log.open("wb") as stdout:
            process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr, env=os.environ | environment)
        try:
            panel = _panel(process, said)
            addresses = re.search(r"serves at (\S+) \(up after .*; metrics and probes at (\S+)\)", panel)
            assert addresses is not None, panel
            yield Served(addresses[1], addresses[2], process, panel, log)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(HANGING_SECONDS) in (0, -signal.SIGKILL), said.read_text()


@pytest.fixture(scope="session")
def traces() -> Iterator[ThreadedReceiver]:
    """Receive the spans of ``served`` and of its engines."""
    with threaded_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def served(traces: ThreadedReceiver) -> Iterator[Served]:
    """Start the default models once for all tests: real vLLM, real ONNX Runtime.

    Those requests are traced whose clients ask for it.
    """
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_TRACES_SAMPLER": "parentbased_always_off"}
    with serving(ROOT / "models.toml", **tracing) as running:
        yield running


def _panel(process: subprocess.Popen[bytes], said: Path) -> str:
    """Wait until the gateway has written its panel, which it does at once; what is said later may follow it."""
    for _ in range(START_SECONDS * 5):
        text = said.read_text(encoding="utf-8")
        if "Headgate serves at" in text and text.endswith("\n"):
            return text
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"the gateway did not start: {said.read_text(encoding='utf-8')}")


@pytest.fixture
def fine_tuning(served: Served) -> Iterator[Served]:
    """Give the default models to a test that makes others of them, which are deleted after it."""
    yield served
    models = httpx.get(f"{served.address}/v1/models", timeout=HANGING_SECONDS).json()["data"]
    for name in [model["id"] for model in models if model["id"].startswith("ft:")]:
        httpx.delete(f"{served.address}/v1/models/{name}", timeout=HANGING_SECONDS).raise_for_status()
