"""Replicas come and go with demand: a model at zero is woken by its first request, and sleeps again when idle."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import HANGING_SECONDS, Served, serving
from tests.engines.onnx.tiny import write_embedder
from tests.kit.eventually import eventually

pytestmark = pytest.mark.slow

CONFIG = """\
[gateway]
processes = {processes}

[models.m]
engine = "onnx"
source = "./m"
tasks = ["embed"]
hold = 120
scaling = {{ min = 0, max = 2, target = 100, idle = 5, keep = 1 }}
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def at_zero(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("scaled")
    (folder / "m").mkdir()
    write_embedder(folder / "m")
    (folder / "models.toml").write_text(CONFIG.format(processes=request.param))
    with serving(folder / "models.toml") as running:
        yield running


def metric(served: Served, name: str, **labels: str) -> float:
    text = httpx.get(f"{served.control}/metrics", timeout=HANGING_SECONDS).text
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    found = re.search(rf"^{name}\{{{wanted}\}} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def replicas(served: Served) -> list[object]:
    found = served.status()["m"]["replicas"]
    assert isinstance(found, list)
    return found


def ask(served: Served) -> int:
    body = {"model": "m", "input": "good"}
    return httpx.post(f"{served.address}/v1/embeddings", json=body, timeout=HANGING_SECONDS).status_code


def test_a_model_at_zero_is_there_for_whoever_looks(at_zero: Served) -> None:
    assert "scaled to zero until it is asked" in at_zero.panel
    assert replicas(at_zero) == []
    assert httpx.get(f"{at_zero.control}/readyz", timeout=HANGING_SECONDS).status_code == 200
    assert [
        card["id"] for card in httpx.get(f"{at_zero.address}/v1/models", timeout=HANGING_SECONDS).json()["data"]
    ] == ["m"]


async def test_fifty_requests_wake_one_replica_and_all_are_answered(at_zero: Served) -> None:
    async with httpx.AsyncClient(timeout=HANGING_SECONDS) as client:
        url, body = f"{at_zero.address}/v1/embeddings", {"model": "m", "input": "good"}
        answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert metric(at_zero, "headgate_scaling_decisions_total", model="m", reason="from_zero") == 1
    assert metric(at_zero, "headgate_cold_start_seconds", model="m") > 0
    assert len(replicas(at_zero)) <= 1

    await eventually(lambda: not replicas(at_zero), HANGING_SECONDS)
    assert metric(at_zero, "headgate_desired_replicas", model="m") == 0
    assert metric(at_zero, "headgate_scaling_decisions_total", model="m", reason="idle") == 1
    assert await asyncio.to_thread(ask, at_zero) == 200
