"""On a real Ray cluster of three nodes replicas come, go, wait for room, outlive a node; trainings stop and go on."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engines.ray.cluster import RayCluster as Told
from engines.tuning.ray_trainings import RayTrainings
from engines.tuning.records import Job
from engines.tuning.runner import Runner
from engines.tuning.store import Store
from loadtest.bench.faults.ray_node import MODEL, RayNodeSettings, configuration, lose_node, until_ready
from loadtest.bench.faults.serving import ServedGateway, serving
from loadtest.bench.ray_cluster import RayCluster, ray_cluster
from tests.e2e.conftest import HANGING_SECONDS
from tests.engines.onnx.tiny import write_embedder
from tests.kit.eventually import eventually
from tests.kit.tuning import order, settings, weights

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

BESIDES = """
[models.waits]
engine = "onnx"
source = "{source}"
tasks = ["embed"]
placement = "ray"
ray = {{ num_cpus = 64 }}
required = false

[models.scaled]
engine = "onnx"
source = "{source}"
tasks = ["embed"]
placement = "ray"
args = {{ threads = 1 }}
hold = 120
scaling = {{ min = 0, max = 2, target = 100, idle = 1, keep = 1 }}
"""


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """Give what marks all processes of the cluster, in their environments, and see that none of them is left."""
    mark = f"HEADGATE_TEST_CLUSTER={secrets.token_hex(8)}"
    yield mark
    assert not [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _is_marked(entry, mark)]


def _is_marked(process: Path, mark: str) -> bool:
    try:
        return mark.encode() in (process / "environ").read_bytes()
    except OSError:
        return False


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(mark: str) -> AsyncIterator[RayCluster]:
    # Ray's own patience with a node that says nothing is 15 seconds.
    patience = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
    async with ray_cluster([2, 2], **patience, **dict([mark.split("=")])) as running:
        assert _is_marked(Path(f"/proc/{running.nodes[0].pid}"), mark)
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServedGateway]:
    folder = write_embedder(tmp_path_factory.mktemp("model"))
    text = configuration(cluster.url, str(folder), 2)
    async with serving(text) as running:
        await until_ready(running, 2)
        await running.reconfigure(text + BESIDES.format(source=folder))
        yield running


async def replicas(gateway: ServedGateway, model: str) -> Any:
    return (await gateway.model(model))["replicas"]


async def test_replicas_answer_at_their_nodes_and_only_who_knows_their_keys(gateway: ServedGateway) -> None:
    (first, second) = await replicas(gateway, MODEL)
    assert first["address"] != second["address"]
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{gateway.address}/v1/embeddings", json={"model": MODEL, "input": "a"}) as answer:
            assert answer.status == 200, await answer.text()
        async with http.get(f"{first['address']}/v1/models") as answer:
            assert answer.status == 401


async def test_without_room_a_replica_waits_and_rays_reason_is_shown(gateway: ServedGateway) -> None:
    await gateway.until("waits", lambda listed: "waiting for resources" in (listed[0]["reason"] or ""))
    assert (await replicas(gateway, "waits"))[0]["state"] == "pending"


async def test_the_scaler_wakes_a_model_on_the_cluster_and_lets_it_sleep_again(gateway: ServedGateway) -> None:
    assert await replicas(gateway, "scaled") == []
    body = {"model": "scaled", "input": "a"}
    async with aiohttp.ClientSession() as http, http.post(f"{gateway.address}/v1/embeddings", json=body) as answer:
        assert answer.status == 200, await answer.text()
    await gateway.until("scaled", lambda listed: not listed)


async def test_a_training_goes_on_from_the_checkpoint_that_it_has_written_when_it_was_paused(
    cluster: RayCluster, tmp_path: Path
) -> None:
    made = weights(tmp_path)
    (tmp_path / "tuning").mkdir()
    store = Store(tmp_path / "tuning" / "jobs.sqlite3")
    trainings = RayTrainings(Told(cluster.url, "tuner", poll=0.1), threads=1, memory_bytes=2**28)
    runner = Runner(store, settings(tmp_path), lambda *_: None, trainings.start, lambda: None)
    runner.start()

    def job() -> Job:
        found = store.find("ftjob-1")
        assert found is not None
        return runner.states.catch_up(found)

    try:
        name = "ft:base:acme:holds:1"
        await runner.add(Job(id="ftjob-1", name=name, order=order(tmp_path, "holds"), created_at=0))
        await eventually(lambda: job() and store.checkpoints("ftjob-1", 1, None)[0], within=HANGING_SECONDS)
        runner.pause(job())
        await eventually(
            lambda: not (tmp_path / "tuning" / "jobs" / "ftjob-1" / "ray.json").exists(), within=HANGING_SECONDS
        )
        (made / "go").touch()
        runner.resume(job())
        await eventually(lambda: job().stage == "publish", within=HANGING_SECONDS)
        said = [event.message for event in store.events("ftjob-1", 100, None)[0]]
        assert said.count("training from step 1") == 1
        assert job().deaths == 0
    finally:
        await runner.stop()
        await trainings.close()
        store.close()


async def test_when_a_node_is_lost_all_are_answered_and_its_replicas_come_back(
    cluster: RayCluster, gateway: ServedGateway
) -> None:
    found = await lose_node(cluster, gateway, RayNodeSettings(rate=20.0, load_seconds=8.0, lost_after=1.0))
    assert list(found["requests"]) == ["ok"], json.dumps(found)
    assert found["moved"] > 0


async def test_what_is_stopped_leaves_no_job(cluster: RayCluster, gateway: ServedGateway) -> None:
    await gateway.reconfigure(configuration(cluster.url, "/nowhere", 0))
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{cluster.url}/api/jobs/") as answer:
                jobs = await answer.json()
            # The one that waits for room is asked to end, and does as soon as it has found some.
            if not [job for job in jobs if job["status"] == "RUNNING"]:
                break
            await asyncio.sleep(0.2)
