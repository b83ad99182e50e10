"""A real Prometheus with the project's own settings, which scrapes what a test tells it to."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from loadtest.bench.launch import launched
from tests.kit.ports import reserved_port

SETTINGS = Path(__file__).parent.parent.parent / "deploy/prometheus"
SCRAPE_SECONDS = 1

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed: sudo apt-get install prometheus",
)


class Prometheus:
    """A running Prometheus and what a test asks of it."""

    def __init__(self, address: str, http: httpx.AsyncClient) -> None:
        self.address = address
        self._http = http

    def __repr__(self) -> str:
        return f"<Prometheus at {self.address}>"

    async def get(self, path: str, **parameters: str) -> Any:
        """Ask its API; give the data of the answer. An expression that is refused is an ``AssertionError``."""
        answer = (await self._http.get(f"{self.address}/api/v1/{path}", params=parameters)).json()
        assert answer["status"] == "success", f"{parameters}: {answer['error']}"
        return answer["data"]

    async def query(self, expression: str, **parameters: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate an expression now; give the labels and the value of each series."""
        data = await self.get("query", query=expression, **parameters)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in data["result"]]

    async def fewest_scrapes(self) -> int:
        """Tell how often each target has been scraped, at the target where that is least; 0 where one never was."""
        targets = (await self.get("targets"))["activeTargets"]
        counted = await self.query("min(sum_over_time(up[5m]))")
        return int(counted[0][1]) if counted and all(each["health"] == "up" for each in targets) else 0


@asynccontextmanager
async def scraping(folder: Path, targets: Sequence[str], *rules: Path) -> AsyncIterator[Prometheus]:
    """Run Prometheus with the settings of ``deploy/prometheus``, but for the targets and the intervals.

    ``targets`` are addresses of control ports; ``folder`` takes its data. ``rules`` are files beside the project's own.
    """
    settings = yaml.safe_load((SETTINGS / "prometheus.yml").read_text(encoding="utf-8"))
    settings["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(SETTINGS / each) for each in settings["rule_files"]] + [str(each) for each in rules]
    for job in settings["scrape_configs"]:
        job["static_configs"] = [{"targets": [each.removeprefix("http://") for each in targets]}]
        job["scrape_timeout"] = settings["global"]["scrape_interval"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with reserved_port() as port:
        address = f"127.0.0.1:{port}"
        command.append(f"--web.listen-address={address}")
        async with (
            launched(command, frozenset(os.sched_getaffinity(0))) as process,
            httpx.AsyncClient(timeout=60) as http,
        ):
            prometheus = Prometheus(f"http://{address}", http)

            async def ready() -> bool:
                try:
                    return (await http.get(f"http://{address}/-/ready")).status_code == 200
                except httpx.TransportError:
                    return False

            await process.until_ready(ready)
            yield prometheus
