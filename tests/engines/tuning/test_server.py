"""The tuning server over HTTP: what is wrong with a request, or with the disk, is an error in OpenAI's shape."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from engines.tuning.runner import Runner
from engines.tuning.server import Api
from engines.tuning.service import Service
from engines.tuning.store import Store
from tests.kit.tuning import order, settings, start_child, weights


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    (tmp_path / "tuning" / "jobs").mkdir(parents=True)
    weights(tmp_path)
    store = Store(tmp_path / "tuning" / "jobs.sqlite3")
    service = Service(store)
    service.runner = Runner(store, settings(tmp_path), lambda *_: None, start_child, service.changed)
    await service.runner.stop()
    async with TestClient(TestServer(Api(service).application())) as client:
        yield client
    await service.runner.stop()
    store.close()


async def test_a_job_is_ordered_listed_and_cancelled(
    client: TestClient[web.Request, web.Application], tmp_path: Path
) -> None:
    ordered = await client.post("/jobs", data=msgspec.json.encode(order(tmp_path, owner="a", metadata={"k": "v"})))
    job = await ordered.json()
    assert (ordered.status, job["status"]) == (200, "validating_files")
    listed = await client.get("/jobs", params={"owner": "a", "metadata": '{"k": "v"}'})
    assert [each["id"] for each in (await listed.json())["data"]] == [job["id"]]
    events = await (await client.get(f"/jobs/{job['id']}/events", params={"owner": "a", "limit": "1"})).json()
    assert (len(events["data"]), events["has_more"]) == (1, True)
    assert (await (await client.get(f"/jobs/{job['id']}/checkpoints", params={"owner": "a"})).json())["data"] == []
    cancelled = await client.post(f"/jobs/{job['id']}/cancel", params={"owner": "a"})
    assert (await cancelled.json())["status"] == "cancelled"
    again = await client.post(f"/jobs/{job['id']}/pause", params={"owner": "a"})
    assert (again.status, (await again.json())["error"]["code"]) == (400, "wrong_state")


async def test_jobs_are_counted_for_metrics(client: TestClient[web.Request, web.Application], tmp_path: Path) -> None:
    assert await (await client.post("/counts", data=b"{}")).json() == {}
    await client.post("/jobs", data=msgspec.json.encode(order(tmp_path, owner="a")))
    assert await (await client.post("/counts", data=b'{"counts": {}}')).json() == {"validating_files": 1}


async def test_what_is_no_order_is_refused(client: TestClient[web.Request, web.Application]) -> None:
    response = await client.post("/jobs", data=b'{"owner": 1}')
    assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_order")


async def test_a_disk_that_is_full_is_told(
    client: TestClient[web.Request, web.Application], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "add", full)
    response = await client.post("/jobs", data=msgspec.json.encode(order(tmp_path)))
    assert (response.status, (await response.json())["error"]["code"]) == (507, "insufficient_storage")
    assert list((tmp_path / "tuning" / "jobs").iterdir()) == []
