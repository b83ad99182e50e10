"""Every query of every panel and alert finds something in a real Prometheus that has scraped loaded gateways.

One of the gateways serves the default models with real vLLM and ONNX Runtime; another one, in front of simulated
engines that fail, has what the first has not: failures, recovered streams, fallbacks, keys with limits that a real
Redis shares, files, objectives, replicas that were found, and a model that is started by its first request.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.monitoring.alerts import ALERTS, RECORDINGS, Alert, Recording
from deploy.monitoring.everything import DASHBOARDS
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.faults import Cut, Faults
from tests.e2e.conftest import HANGING_SECONDS, Served
from tests.engines.onnx.tiny import write_embedder
from tests.engines.tiny_adapter import write_adapter
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.prometheus import Prometheus, needs_prometheus, scraping
from tests.kit.ray_jobs import fake_ray
from tests.kit.redis_server import RedisServer, needs_redis

pytestmark = [pytest.mark.slow, needs_prometheus, needs_redis]

SCRAPES = 6
"""A rate needs two; a series that begins with the second round of load then has some."""

ROUNDS = 6
"""Of load while Prometheus scrapes, however many scrapes a round lasts: all that fails at times has failed then."""

VARIABLES = {
    "$__rate_interval": "1m",
    "$__interval_ms": "1000",
    "$__interval": "1s",
    "$__range": "1m",
    "$instance": ".*",
    "$model": ".*",
    "$pool": ".*",
}
"""What Grafana would fill in, the longer names first."""

QUERIES = {
    f"{dashboard.uid}: {panel.title} {number}": query.expression
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for number, query in enumerate(panel.queries)
}

RULES: tuple[Recording | Alert, ...] = (*RECORDINGS, *ALERTS)

CHAT = "/v1/chat/completions"
ALICE, BOB = ({"authorization": f"Bearer {key}"} for key in ("alice", "bob"))

FAULTS = Faults(
    mix=(
        Faults(probability=0.2, status=500),
        Faults(probability=0.2, cut_after=2, cut=Cut.RESET),
    )
)


@dataclass
class Measured:
    """What Prometheus answered to each query of a panel, and what it says of the rules."""

    answers: dict[str, list[tuple[dict[str, str], float]] | str]
    rules: list[dict[str, Any]]
    names: set[str]


@pytest.fixture(scope="module")
def measured(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Load the gateways until Prometheus has scraped each of them some times, and ask it everything."""
    return asyncio.run(measure(served, tmp_path_factory.mktemp("prometheus")))


async def measure(served: Served, folder: Path) -> Measured:
    async with (
        failing(folder) as simulated,
        httpx.AsyncClient(timeout=HANGING_SECONDS) as http,
        http.stream("POST", f"{simulated.address}{CHAT}", json=chat("endless"), headers=ALICE),
    ):
        await ask_everything(http, served, simulated)
        async with scraping(folder, [served.control, simulated.control]) as prometheus:
            # A rate is of what comes between two scrapes.
            await scraped(prometheus, 1)
            for _ in range(ROUNDS):
                await ask_everything(http, served, simulated)
            # What is scraped when the last round is over may have been written before: the next scrape has all of it.
            await scraped(prometheus, max(SCRAPES, 2 + await prometheus.fewest_scrapes()))
            answers: dict[str, list[tuple[dict[str, str], float]] | str] = {}
            for name, expression in QUERIES.items():
                try:
                    answers[name] = await prometheus.query(filled(expression))
                except AssertionError as refusal:
                    answers[name] = str(refusal)
            groups = (await prometheus.get("rules"))["groups"]
            names = set(await prometheus.get("label/__name__/values"))
            return Measured(answers, [rule for group in groups for rule in group["rules"]], names)


async def scraped(prometheus: Prometheus, times: int) -> None:
    """Wait until each gateway has been scraped so many times."""
    while await prometheus.fewest_scrapes() < times:  # noqa: ASYNC110 - a scrape is told to nobody
        await asyncio.sleep(0.1)


@asynccontextmanager
async def failing(folder: Path) -> AsyncIterator[RunningGateway]:
    """Run a gateway in front of engines that fail at times, and of one that it starts when it is asked."""
    (folder / "tiny").mkdir()
    write_embedder(folder / "tiny")
    write_adapter(folder / "sql")
    (folder / "found.json").write_text('[{"targets": ["127.0.0.1:9"]}]')
    limits = {"alice": {"requests_per_day": 1_000_000}, "bob": {"requests_per_minute": 1}}
    keys = [{"id": key, "sha256": sha256(key.encode()).hexdigest(), "limits": limits[key]} for key in limits]
    async with (
        RedisServer(folder) as redis,
        fake_ray() as ray,
        SimulatedEngine("sim", uds=folder / "a", faults=FAULTS) as first,
        SimulatedEngine("sim", uds=folder / "b", faults=FAULTS, seed=1) as second,
        SimulatedEngine("spare", uds=folder / "c", lora=True) as spare,
        SimulatedEngine("endless", uds=folder / "d", faults=Faults(hang_after=1)) as endless,
        gateway(
            {
                "sim": remote(
                    first.address,
                    second.address,
                    recovery=True,
                    fallback=["spare"],
                    max_in_flight=4,
                    slo={"ttft": 1.0, "e2e": 10.0},
                ),
                "spare": remote(spare.address, adapters={"sql": str(folder / "sql")}, tasks=["generate"]),
                "endless": remote(endless.address),
                "found": {"engine": "remote", "discover": {"file": str(folder / "found.json")}},
                "scaled": {
                    "engine": "onnx",
                    "source": str(folder / "tiny"),
                    "tasks": ["embed"],
                    "hold": 300,
                    "scaling": {"min": 0, "max": 1},
                },
            },
            ready=["sim", "spare", "endless"],
            redis={"url": redis.url},
            ray={"address": ray.url},
            keys=keys,
            files={"folder": str(folder / "files")},
            drain_timeout=0.0,
        ) as running,
    ):
        yield running


async def ask_everything(http: httpx.AsyncClient, served: Served, simulated: RunningGateway) -> None:
    """Ask each model of both gateways, streams among them; some of it fails, as it should."""
    files = {"file": ("a.txt", b"text")}
    await begin_batch(http, simulated)
    await fail_to_tune(http, served)
    await asyncio.gather(
        http.post(f"{served.address}{CHAT}", json=chat("smollm2-135m")),
        http.post(f"{served.address}/v1/embeddings", json={"model": "minilm", "input": "The gate"}),
        http.post(f"{served.address}/classify", json={"model": "prompt-guard", "input": "The gate"}),
        *(http.post(f"{simulated.address}{CHAT}", json=chat("sim"), headers=ALICE) for _ in range(6)),
        http.post(f"{simulated.address}{CHAT}", json=chat("spare"), headers=BOB),
        http.post(f"{simulated.address}/v1/embeddings", json={"model": "scaled", "input": "good"}, headers=ALICE),
        http.post(f"{simulated.address}/v1/files", files=files, data={"purpose": "user_data"}, headers=ALICE),
    )


async def begin_batch(http: httpx.AsyncClient, simulated: RunningGateway) -> None:
    """Have one line answered by a batch."""
    request = {"custom_id": "1", "method": "POST", "url": CHAT, "body": {**chat("spare"), "stream": False}}
    url, files = f"{simulated.address}/v1", {"file": ("in.jsonl", json.dumps(request).encode())}
    file = await http.post(f"{url}/files", files=files, data={"purpose": "batch"}, headers=ALICE)
    fields = {"input_file_id": file.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    (await http.post(f"{url}/batches", json=fields, headers=ALICE)).raise_for_status()


async def fail_to_tune(http: httpx.AsyncClient, served: Served) -> None:
    """Order a fine-tuning job whose examples are refused."""
    url, files = f"{served.address}/v1", {"file": ("one.jsonl", b'{"text": "The gate", "label": "water"}')}
    file = await http.post(f"{url}/files", files=files, data={"purpose": "fine-tune"})
    job = {"model": "minilm", "training_file": file.json()["id"]}
    (await http.post(f"{url}/fine_tuning/jobs", json=job)).raise_for_status()


def chat(model: str) -> dict[str, Any]:
    """Write the body of a stream."""
    return {"model": model, "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}


def filled(expression: str) -> str:
    """Fill in Grafana's variables."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert not re.search(r"\$[a-z_]", expression), expression
    return expression


@pytest.mark.parametrize("name", QUERIES)
def test_each_query_of_a_panel_finds_something(name: str, measured: Measured) -> None:
    answer = measured.answers[name]
    assert not isinstance(answer, str), answer
    assert answer, filled(QUERIES[name])
    assert not all(math.isnan(value) for _, value in answer), filled(QUERIES[name])


def test_each_rule_is_evaluated(measured: Measured) -> None:
    assert {rule["name"]: rule["health"] for rule in measured.rules} == {rule.name: "ok" for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_what_a_rule_looks_at_is_there(rule: Recording | Alert, measured: Measured) -> None:
    looked_at = set(re.findall(r"(?:model:)?(?:headgate|process)_\w+(?::\w+)?", rule.expression))
    assert looked_at <= measured.names
