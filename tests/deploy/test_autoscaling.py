"""What autoscalers ask for, as the chart and its README have it, gives exactly one number in every state.

Three real gateways hold requests of a model at zero, and a real Prometheus scrapes them. More than one element is an
error to an HPA and to KEDA, and none at all is one too, or a zero that nobody meant.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from gateway.core.tasks import cancelled
from gateway.discovery import file as file_module
from loadtest.simulator import SimulatedEngine, Timing
from tests.deploy.test_chart import CHART, MODES, Helm, one
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.kubectl import unpack
from tests.kit.prometheus import Prometheus, needs_prometheus, scraping

pytestmark = [pytest.mark.slow, needs_prometheus]

MODEL = "chat"
ASKED = {"model": MODEL, "prompt": "a", "max_tokens": 2}


@pytest.fixture
def queries(tmp_path: Path) -> dict[str, str]:
    """Read what each mode of the chart asks for; for KEDA, which reads each pod by itself, added up as it does."""
    helm = Helm(unpack("helm", tmp_path), tmp_path)
    scaler = one(helm.rendered(*MODES["hpa"]), "HorizontalPodAutoscaler", f"rel-{MODEL}")
    (metric,) = [each["external"]["metric"] for each in scaler["spec"]["metrics"]]
    (trigger,) = one(helm.rendered(*MODES["keda"]), "ScaledObject", f"rel-{MODEL}")["spec"]["triggers"]
    asked = trigger["metadata"]
    assert asked["aggregateFromKubeServiceEndpoints"] == "true"
    return {
        "hpa": adapted(metric["name"], metric["selector"]["matchLabels"]),
        "keda": f"{asked['aggregationType']}({asked['valueLocation']})",
        "keda, of each pod": f"count by (instance) ({asked['valueLocation']})",
    }


def adapted(name: str, labels: dict[str, str]) -> str:
    """Write the query that prometheus-adapter makes of an external metric, by the rule in the chart's README."""
    block = re.search(r"```yaml\n(externalRules:.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    assert block is not None
    (rule,) = yaml.safe_load(block[1])["externalRules"]
    assert rule["seriesQuery"] == name
    query: str = rule["metricsQuery"]
    return query.replace("<<.LabelMatchers>>", ",".join(f'{label}="{value}"' for label, value in labels.items()))


async def until(prometheus: Prometheus, queries: dict[str, str], demand: float) -> None:
    """Look until a scrape of each gateway has brought this demand; each mode has one number at every look before."""
    seen: dict[str, list[float]] = {}
    async with asyncio.timeout(60):
        while seen != {"hpa": [demand], "keda": [demand], "keda, of each pod": [1.0] * 3}:
            await asyncio.sleep(0.1)
            for mode, query in queries.items():
                seen[mode] = [value for _, value in await prometheus.query(query)]
            assert (len(seen["hpa"]), len(seen["keda"])) == (1, 1), seen
            assert set(seen["keda, of each pod"]) == {1.0}, seen


async def ask(served: RunningGateway) -> None:
    """Ask, and wait for the answer until the client leaves."""
    async with await served.wire() as wire:
        await wire.request("POST", "/v1/completions", ASKED)
        await wire.response()


def listing(path: Path) -> Callable[..., None]:
    """Make what tells the gateways which replicas there are."""

    def write(*engines: SimulatedEngine) -> None:
        new = path.with_suffix(".new")
        new.write_text(json.dumps([{"targets": [each.address for each in engines]}]))
        new.rename(path)

    return write


async def scraped(prometheus: Prometheus) -> None:
    """Wait until every gateway has been scraped."""
    async with asyncio.timeout(60):
        while not await prometheus.fewest_scrapes():  # noqa: ASYNC110 - a scrape is told to nobody
            await asyncio.sleep(0.05)


async def test_each_query_gives_one_number_in_every_state(
    queries: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "_LOOK_SECONDS", 0.02)
    write = listing(tmp_path / "replicas.json")
    write()
    model: dict[str, Any] = {
        "engine": "remote",
        "tasks": ["generate"],
        "hold": 60.0,
        "health_interval": 0.05,
        "discover": {"file": str(tmp_path / "replicas.json")},
    }
    models = {MODEL: model, "other": remote("http://127.0.0.1:1", tasks=["generate"])}
    async with AsyncExitStack() as stack:
        gateways: Sequence[RunningGateway] = [
            await stack.enter_async_context(gateway(models, ready=())) for _ in range(3)
        ]
        engine = SimulatedEngine(MODEL, uds=tmp_path / "engine", timing=Timing(ttft=300.0))
        await stack.enter_async_context(engine)
        prometheus = await stack.enter_async_context(scraping(tmp_path, [each.control for each in gateways]))
        await scraped(prometheus)
        await until(prometheus, queries, 0)
        asking = [asyncio.create_task(ask(gateways[at])) for at in (0, 0, 2)]
        await until(prometheus, queries, 3)
        # A pod is there: what runs is demand too.
        write(engine)
        await engine.until(lambda each: each.running == 3)
        asking.append(asyncio.create_task(ask(gateways[1])))
        await until(prometheus, queries, 4)
        assert engine.running == 4
        # Its clients leave, and so does the pod.
        await cancelled(asking)
        await until(prometheus, queries, 0)
        write()
        await until(prometheus, queries, 0)
