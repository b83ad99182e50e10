"""Jobs train on a cluster as they do here: until they have a result, and never twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engines.processes.restart import RestartPolicy
from engines.ray.cluster import RayCluster
from engines.tuning.ray_submission import SubmissionFile
from engines.tuning.ray_trainings import RayTrainings
from engines.tuning.records import Job, JobError
from engines.tuning.runner import Runner
from engines.tuning.store import Store
from tests.kit.eventually import eventually
from tests.kit.ray_jobs import FakeRay, fake_ray
from tests.kit.tuning import order, settings

_AT_ONCE = RestartPolicy(first=0.01, longest=0.01)


class Server:
    """A tuning server of the folder without its HTTP; the trainings are what a test does in their stead."""

    def __init__(self, ray: FakeRay, folder: Path) -> None:
        self.ray = ray
        self.store = Store(folder / "tuning" / "jobs.sqlite3")
        self.cluster = RayTrainings(RayCluster(ray.url, poll=0.01), threads=2, memory_bytes=2**30, patience=0.0)
        told = settings(folder, jobs=2)
        self.runner = Runner(self.store, told, lambda *_: None, self.cluster.start, lambda: None, _AT_ONCE)
        self._folder = folder

    async def add(self, number: int = 1) -> str:
        job = Job(id=f"ftjob-{number}", name=f"ft:base:acme::{number}", order=order(self._folder), created_at=0)
        await self.runner.add(job)
        return job.id

    def job(self, job_id: str) -> Job:
        job = self.store.find(job_id)
        assert job is not None
        return self.runner.states.catch_up(job)

    def said(self, job_id: str) -> list[str]:
        return [event.message for event in reversed(self.store.events(job_id, 100, None)[0])]

    def folder_of(self, job_id: str) -> Path:
        return self.runner.states.folder_of(job_id).path

    def checkpoint(self, job_id: str, step: int) -> None:
        line = {"at": 0.0, "type": "checkpoint", "step": step, "metrics": {}}
        with (self.folder_of(job_id) / "events.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def running(self, count: int = 1) -> str:
        """Wait until so many jobs of the cluster run; give the last one's id."""
        await eventually(lambda: len(self.ray.states("RUNNING")) == count)
        return self.ray.states("RUNNING")[-1]

    async def forgotten(self, job_id: str, name: str) -> None:
        """Wait until the end of a job of the cluster is known."""
        file = SubmissionFile.beside(self.runner.states.folder_of(job_id).log)
        await eventually(lambda: (found := file.read()) is None or found.id != name)


@asynccontextmanager
async def serving(ray: FakeRay, folder: Path) -> AsyncIterator[Server]:
    server = Server(ray, folder)
    server.runner.start()
    try:
        yield server
    finally:
        await server.runner.stop()
        await server.cluster.close()
        server.store.close()


@pytest.fixture
async def ray() -> AsyncIterator[FakeRay]:
    async with fake_ray() as running:
        yield running


@pytest.fixture
async def server(ray: FakeRay, folder: Path) -> AsyncIterator[Server]:
    async with serving(ray, folder) as running:
        yield running


def asked(ray: FakeRay, name: str) -> Any:
    return ray.jobs[name]["asked"]


async def test_a_job_is_trained_by_the_same_command_and_left_to_be_published(server: Server) -> None:
    job_id = await server.add()
    name = await server.running()
    folder = server.folder_of(job_id)
    assert f"training_child.py {folder} >>{folder}/train.log" in asked(server.ray, name)["entrypoint"]
    assert asked(server.ray, name)["entrypoint_num_cpus"] == 2
    (folder / "result").mkdir()
    server.ray.finish(name, 0)
    await eventually(lambda: server.job(job_id).stage == "publish")


async def test_one_that_refuses_its_data_is_not_tried_again(server: Server) -> None:
    job_id = await server.add()
    name = await server.running()
    error = {"code": "invalid_training_file", "message": "No.", "param": None}
    (server.folder_of(job_id) / "error.json").write_text(json.dumps(error))
    server.ray.finish(name, 3)
    await eventually(lambda: server.job(job_id).status == "failed")
    assert server.job(job_id).error == JobError("invalid_training_file", "No.")
    assert list(server.ray.jobs) == [name]


async def test_three_deaths_without_a_checkpoint_in_between_are_the_end(server: Server) -> None:
    job_id = await server.add()
    for _ in range(2):
        name = await server.running()
        server.ray.finish(name, -9)
        await server.forgotten(job_id, name)
    await server.running()
    server.checkpoint(job_id, 1)
    for _ in range(3):
        name = await server.running()
        server.ray.fail(name, message="The node has died.")
        await server.forgotten(job_id, name)
    await eventually(lambda: server.job(job_id).status == "failed")
    assert len(server.ray.jobs) == 5
    error = server.job(job_id).error
    assert error is not None
    assert "3 times in a row" in error.message
    assert "The node has died." in error.message
    assert any("exit code 137" in message for message in server.said(job_id))


async def test_a_paused_job_makes_room_and_goes_on_as_another_job_of_the_cluster(server: Server) -> None:
    job_id = await server.add()
    first = await server.running()
    server.runner.pause(server.job(job_id))
    await eventually(lambda: server.ray.states("STOPPED") == [first])
    server.runner.resume(server.job(job_id))
    second = await server.running()
    assert second != first
    assert server.job(job_id).deaths == 0


async def test_a_cancelled_job_is_stopped_and_leaves_its_log(server: Server) -> None:
    job_id = await server.add()
    name = await server.running()
    (server.folder_of(job_id) / "train.log").touch()
    server.runner.cancel(server.job(job_id))
    await eventually(lambda: server.ray.states("STOPPED") == [name])
    await eventually(lambda: [each.name for each in server.folder_of(job_id).iterdir()] == ["train.log"])


async def test_one_that_finds_no_room_says_so_once(server: Server) -> None:
    server.ray.room = 0
    job_id = await server.add()
    await eventually(lambda: any("waits for the Ray cluster" in each for each in server.said(job_id)))
    looks = len(server.ray.asked)
    await eventually(lambda: len(server.ray.asked) > looks + 3)
    assert sum("waits for the Ray cluster" in each for each in server.said(job_id)) == 1


async def test_a_server_that_ends_stops_its_jobs_and_the_next_goes_on_with_them(ray: FakeRay, folder: Path) -> None:
    async with serving(ray, folder) as first:
        job_id = await first.add()
        name = await first.running()
    assert ray.states("STOPPED") == [name]
    async with serving(ray, folder) as second:
        assert await second.running() != name
        assert second.job(job_id).deaths == 0


async def test_what_a_killed_server_has_left_of_a_paused_job_is_ended_before_it_goes_on(server: Server) -> None:
    server.ray.stops_at_once = False
    log = server.folder_of("ftjob-9") / "train.log"
    log.parent.mkdir()
    child = await server.cluster.start(("train",), log, print)
    left = await server.running()
    await child.leave()
    server.cluster.end_left([log, log.parent.parent / "ftjob-8" / "train.log"])
    await eventually(lambda: ("POST", f"/api/jobs/{left}/stop") in server.ray.asked)
    again = await server.cluster.start(("train",), log, print)
    looks = len(server.ray.asked)
    await eventually(lambda: len(server.ray.asked) > looks + 3)
    assert list(server.ray.jobs) == [left]
    server.ray.fail(left, status="STOPPED")
    server.ray.finish(await server.running(), 0)
    assert await again.ended() == 0


async def test_a_file_that_names_no_job_does_not_keep_the_server_from_its_start(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    folder = server.folder_of("ftjob-9")
    folder.mkdir()
    (folder / "ray.json").write_text("{}")
    server.cluster.end_left([folder / "train.log"])
    assert "the training of ftjob-9 may go on" in caplog.text
