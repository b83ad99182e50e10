"""Whatever is killed, and whenever: jobs go on, models are served once and whole, and no file is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI

from engines.tuning.launcher import hold
from gateway.tuning import service
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway, gateway
from tests.kit.leaks import nothing_left
from tests.kit.tuning import TRAIN, job_of, tunable, until, until_held, weights

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets, with the weights of a base."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        weights(Path(path))
        yield Path(path)


@asynccontextmanager
async def tuning(folder: Path, *ready: str, log: StringIO | None = None) -> AsyncIterator[RunningGateway]:
    models, settings = tunable(folder)
    async with gateway(models, ready=ready, train=TRAIN, log=log, **settings) as running:
        yield running


@asynccontextmanager
async def sdk(address: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=10) as api:
        yield api


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run a gateway as a process of its own, and give its address."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.kit.tuning_gateway", str(folder)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert started.stdout is not None
    try:
        async with asyncio.timeout(240):
            yield started, (await started.stdout.readline()).decode().strip()
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


def processes_of(folder: Path, *words: str) -> list[int]:
    """Find the processes of the tuning server or of its jobs in a folder, without their shims."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line and all(word in line for word in words) and "shim.py" not in line:
                found.append(int(entry.name))
    return found


async def answers(address: str, model: str | None) -> bool:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{address}/classify", json={"model": model, "input": "good"}, timeout=120)
        return answer.status_code == 200 and answer.json()["data"][0]["label"] == "good"


async def test_a_model_is_served_by_the_next_gateway_too_and_nothing_is_left_of_the_first(folder: Path) -> None:
    async with nothing_left(), tuning(folder) as first, sdk(first.address) as api:
        done = await until(api, await job_of(api, "mine"), "succeeded", "failed")
        assert done.error is None
        name = done.fine_tuned_model or ""
    assert processes_of(folder) == []
    async with tuning(folder, name) as second, sdk(second.address) as api:
        assert await answers(second.address, name)
        assert [model.id async for model in api.models.list()].count(name) == 1
        assert (await api.files.retrieve(done.result_files[0])).filename == "step_metrics.csv"
        assert (await api.fine_tuning.jobs.retrieve(done.id)).status == "succeeded"
        await api.models.delete(name)
    assert list((folder / "tuning" / "models").iterdir()) == []


async def test_a_tuning_server_that_is_killed_is_started_again_and_its_job_goes_on(folder: Path) -> None:
    async with tuning(folder) as running, sdk(running.address) as api:
        job = await job_of(api, "holds")
        await until_held(api, job)
        (server,) = processes_of(folder, "engines.tuning")
        # The training dies with its server, and must not be let go on before that.
        training = set(processes_of(folder, job.id))
        assert training
        os.kill(server, signal.SIGKILL)
        await eventually(lambda: not (training | {server}) & set(processes_of(folder)), within=120)
        (folder / "weights" / "go").touch()
        done = await until(api, job, "succeeded", "failed")
        assert done.error is None
        events = [each.message async for each in api.fine_tuning.jobs.list_events(job.id, limit=100)]
        assert "training from step 1" in events
        assert sum(message.startswith("Step 1/") for message in events) == 1
        assert await answers(running.address, done.fine_tuned_model)


@pytest.mark.parametrize("stage", ["training", "publishing"])
async def test_a_gateway_that_is_killed_finds_its_jobs_again(stage: str, folder: Path) -> None:
    async with process(folder) as (first, address), sdk(address) as api:
        job = await job_of(api, "holds")
        await until_held(api, job)
        if stage == "publishing":
            (folder / "weights" / "go").touch()
            result = folder / "tuning" / "jobs" / job.id / "result"
            await eventually(result.is_dir, within=120)
        first.kill()
        await first.wait()
    await eventually(lambda: not processes_of(folder), within=120)
    (folder / "weights" / "go").touch()
    async with tuning(folder) as second, sdk(second.address) as api:
        done = await until(api, job, "succeeded", "failed")
        assert done.error is None
        assert await answers(second.address, done.fine_tuned_model)
        assert [file.id async for file in api.files.list(purpose="fine-tune-results")] == done.result_files
        assert len(list((folder / "tuning" / "models").iterdir())) == 1


async def test_of_two_gateways_with_one_folder_the_second_serves_nothing_of_the_first_until_that_one_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_LOOK_SECONDS", 0.1)
    async with process(folder) as (first, address), sdk(address) as api:
        job = await until(api, await job_of(api, "mine"), "succeeded", "failed")
        name = job.fine_tuned_model or ""
        log = StringIO()
        async with tuning(folder, log=log) as second, httpx.AsyncClient(base_url=second.address) as http:
            assert name not in [each["id"] for each in (await http.get("/v1/models")).json()["data"]]
            assert (await http.post("/classify", json={"model": name, "input": "good"})).status_code == 404
            for refused in (
                await http.get("/v1/fine_tuning/jobs"),
                await http.get(f"/v1/fine_tuning/jobs/{job.id}"),
                await http.delete(f"/v1/models/{name}"),
            ):
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "tuning_unavailable")
            assert "retry-after" not in refused.headers
            assert await answers(address, name)
            assert log.getvalue().count("is another gateway's") == 1
            first.kill()
            await first.wait()
            await eventually(lambda: name in second.gateway.plane.registry.names, within=60)
            async with sdk(second.address) as there:
                assert (await there.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model == name
            await eventually(lambda: second.gateway.fleet.is_ready(name), within=120)
            assert await answers(second.address, name)


async def test_a_tuning_folder_of_another_gateway_is_left_alone(folder: Path) -> None:
    (folder / "tuning").mkdir()
    held = hold(folder / "tuning")
    try:
        async with tuning(folder) as running, httpx.AsyncClient() as http:
            answer = await http.get(f"{running.address}/v1/fine_tuning/jobs")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "tuning_unavailable")
            assert (answer.headers["retry-after"], list((folder / "tuning").glob("*.sock"))) == ("1", [])
    finally:
        os.close(held)
