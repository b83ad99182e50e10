"""Scrapes while the configuration changes: each of them shows one configuration, as a whole."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import Gateway
from gateway.config.load import load
from gateway.console.startup_log import StartupLog
from gateway.reload.reloader import ConfigSource
from loadtest.simulator import SimulatedEngine

FEW, MANY = {"a", "b"}, {"b", *(f"m-{number}" for number in range(15))}
RELOADS = 6


def configuration(engine: SimulatedEngine, models: set[str]) -> str:
    addresses = '[gateway]\nlisten = "127.0.0.1:0"\ncontrol = "127.0.0.1:0"\naccess_log = "off"\n'
    # Limits of its own, so that no two models share a pool.
    tables = [
        f'[models.{model}]\nengine = "remote"\nurls = ["{engine.address}"]\nmax_in_flight = {number}\n'
        for number, model in enumerate(sorted(models), 1)
    ]
    return addresses + "\n".join(tables)


@asynccontextmanager
async def reloadable(path: Path) -> AsyncIterator[Gateway]:
    """Run a gateway whose configuration is a file."""
    source = ConfigSource(lambda: load(path), (path,))
    gateway = Gateway(source.load(), path.parent, StartupLog(io.StringIO()), source)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def scraped(http: aiohttp.ClientSession, url: str) -> dict[str, set[str]]:
    """Scrape once: the values of the label ``model`` in each family."""
    async with http.get(url) as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        family.name: {sample.labels["model"] for sample in family.samples if "model" in sample.labels}
        for family in text_string_to_metric_families(text)
    }


async def test_a_scrape_during_a_reload_shows_the_old_or_the_new_configuration(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    async with SimulatedEngine("m", uds=tmp_path / "engine") as engine:
        path.write_text(configuration(engine, FEW))
        async with reloadable(path) as gateway, aiohttp.ClientSession() as http:
            over = asyncio.Event()

            async def reload() -> None:
                for number in range(RELOADS):
                    path.write_text(configuration(engine, FEW if number % 2 else MANY))
                    async with http.post(f"{gateway.control_address}/reload") as answer:
                        assert answer.status == 200
                over.set()

            async def scrape() -> int:
                times = 0
                while not over.is_set():
                    own = await scraped(http, f"{gateway.control_address}/metrics")
                    assert own["headgate_model_info"] in (FEW, MANY)
                    assert own["headgate_demand"] == own["headgate_replicas"] == own["headgate_model_info"]
                    engines = await scraped(http, f"{gateway.control_address}/metrics/engines")
                    assert set().union(*engines.values()) <= FEW | MANY
                    times += 1
                return times

            async with asyncio.TaskGroup() as group:
                reloading, scrapes = group.create_task(reload()), [group.create_task(scrape()) for _ in range(2)]
            assert reloading.exception() is None
            assert all(each.result() > 1 for each in scrapes)
