"""Engines that load LoRA adapters, and what a gateway in front of them says of these."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loadtest.simulator import SimulatedEngine
from tests.gateway.exchange.asking import answer_to, ask
from tests.kit.gateways import RunningGateway
from tests.kit.wire import Response


async def asked(running: RunningGateway, model: str) -> Response:
    return await answer_to(running, ask(model=model))


async def listed(running: RunningGateway) -> dict[str, Any]:
    async with await running.wire() as wire:
        await wire.request("GET", "/v1/models")
        return {card["id"]: card for card in (await wire.response()).json["data"]}


def states(running: RunningGateway, name: str) -> dict[str, str]:
    (adapter,) = [each for each in running.gateway.plane.registry.adapters if each.name == name]
    return {each.replica: each.state for each in running.gateway.view.adapter_statuses(adapter)}


def reason(running: RunningGateway, name: str) -> str:
    (adapter,) = [each for each in running.gateway.plane.registry.adapters if each.name == name]
    return next((each.reason for each in running.gateway.view.adapter_statuses(adapter) if each.reason), "")


@asynccontextmanager
async def two_engines(folder: Path, **options: Any) -> AsyncIterator[tuple[SimulatedEngine, SimulatedEngine]]:
    async with (
        SimulatedEngine("m", uds=folder / "a", lora=True, **options) as one,
        SimulatedEngine("m", uds=folder / "b", lora=True, **options) as two,
    ):
        yield one, two


def loaded(engine: SimulatedEngine) -> dict[str, str]:
    assert engine.adapters is not None
    return engine.adapters.loaded
