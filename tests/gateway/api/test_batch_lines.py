"""Lines of batches go through the pipeline in the name of their key, and behind everybody else."""

from __future__ import annotations

import asyncio
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api.batch_lines import BatchLines
from gateway.core.errors import BadRequest, ModelNotAllowed, ModelNotFound
from gateway.core.keys import ANYONE
from loadtest.simulator import SimulatedEngine, Timing
from tests.gateway.api.local.test_batches import CHAT, begin, ended, jsonl, line, results, sdk
from tests.kit.eventually import eventually
from tests.kit.gateways import gateway, remote
from tests.kit.playbook import Playbook

SECRET = "sk-alice"
ALICE = {"id": "alice", "sha256": sha256(SECRET.encode()).hexdigest()}


async def test_a_model_is_found_as_for_any_request_of_the_key() -> None:
    lines = BatchLines(Playbook().pipeline)
    assert lines.model_of(ANYONE, CHAT, "m") == "m"
    assert lines.model_of(ANYONE, "/v1/moderations", None) == "m"
    assert lines.pool_of("m") is not None
    assert lines.pool_of("gone") is None
    with pytest.raises(ModelNotFound):
        lines.model_of(ANYONE, CHAT, "who")
    with pytest.raises(BadRequest, match="model is missing"):
        lines.model_of(ANYONE, CHAT, None)


async def test_a_key_is_found_by_its_id_as_long_as_it_works() -> None:
    assert BatchLines(Playbook().pipeline).key_of("") is ANYONE
    assert BatchLines(Playbook().pipeline).key_of("alice") is None
    lines = BatchLines(Playbook(keys=[{**ALICE, "models": ["other"]}]).pipeline)
    key = lines.key_of("alice")
    assert key is not None
    assert lines.key_of("") is None
    with pytest.raises(ModelNotAllowed):
        lines.model_of(key, CHAT, "m")
    assert BatchLines(Playbook(keys=[{**ALICE, "expires": "2020-01-01"}]).pipeline).key_of("alice") is None


async def test_a_key_that_has_lost_an_endpoint_asks_it_no_more() -> None:
    lines = BatchLines(Playbook(keys=[{**ALICE, "endpoints": ["/v1/embeddings"]}]).pipeline)
    key = lines.key_of("alice")
    assert key is not None
    answer = await lines.ask(key, CHAT, "batch_req_1", json.dumps(line(1)["body"]).encode())
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (403, "endpoint_not_allowed")


async def test_lines_count_in_the_limits_of_their_key_and_stand_in_the_access_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    keys = [{**ALICE, "limits": {"tokens_per_day": 1_000_000}}]
    async with (
        SimulatedEngine(uds=tmp_path / "sim.sock") as engine,
        gateway(
            {"sim": remote(engine.address)}, files={"folder": str(tmp_path / "f")}, keys=keys, access_log=str(log)
        ) as running,
        sdk(running, SECRET) as api,
    ):
        batch = await ended(api, await begin(api, jsonl([line(1)])))
        found = await results(api, batch.output_file_id)
        metrics = await running.metrics()
    (written,) = [each for each in map(json.loads, log.read_text().splitlines()) if each["client"] == "batch"]
    assert (written["key"], written["endpoint"], written["status"]) == ("alice", CHAT, 200)
    assert written["request_id"] == found["line-1"]["id"]
    tokens = found["line-1"]["response"]["body"]["usage"]["completion_tokens"]
    (used,) = re.findall(r'headgate_key_tokens_total\{[^}]*"output"[^}]*\} (\S+)', metrics)
    assert float(used) == tokens
    assert 'headgate_batch_lines_total{outcome="completed"} 1.0' in metrics
    assert 'headgate_batches_ended_total{status="completed"} 1.0' in metrics


async def test_interactive_requests_overtake_a_batch_that_fills_the_model(tmp_path: Path) -> None:
    async with (
        SimulatedEngine(uds=tmp_path / "sim.sock", timing=Timing(ttft=60.0)) as engine,
        gateway(
            {"sim": remote(engine.address, max_in_flight=2, max_queue=8)}, files={"folder": str(tmp_path / "f")}
        ) as running,
        sdk(running) as api,
        httpx.AsyncClient(timeout=30) as http,
    ):
        pool = running.gateway.plane.registry.pools[0]
        # One interactive request and one line take both slots, for a minute each.
        first = asyncio.create_task(http.post(f"{running.address}{CHAT}", json=line(0)["body"]))
        await eventually(lambda: engine.running == 1)
        batch = await begin(api, jsonl([line(n) for n in range(1, 5)]))
        while batch.status != "in_progress":
            batch = await api.batches.retrieve(batch.id)
        assert pool.admission.free == 1
        other = asyncio.create_task(http.post(f"{running.address}{CHAT}", json=line(9)["body"]))
        await eventually(lambda: engine.running == 2)
        assert pool.admission.waiting == 0
        for task in (first, other):
            task.cancel()
        await asyncio.gather(first, other, return_exceptions=True)
        # What it has left is the batch's; the next request takes the slot of a line at once.
        await eventually(lambda: b"Hi 1" in b"".join(each.body for each in engine.requests))
        third: asyncio.Task[Any] = asyncio.create_task(http.post(f"{running.address}{CHAT}", json=line(10)["body"]))
        fourth: asyncio.Task[Any] = asyncio.create_task(http.post(f"{running.address}{CHAT}", json=line(11)["body"]))
        await eventually(
            lambda: {b"Hi 10" in e.body or b"Hi 11" in e.body for e in list(engine.requests)[-2:]} == {True}
        )
        assert pool.admission.waiting == 0
        assert 'headgate_batch_lines_total{outcome="yielded"} 1.0' in await running.metrics()
        for task in (third, fourth):
            task.cancel()
        await asyncio.gather(third, fourth, return_exceptions=True)
        await api.batches.cancel(batch.id)
        await ended(api, batch)
