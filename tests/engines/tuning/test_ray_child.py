"""A training on a cluster is submitted once, is found again, is stopped for sure, and ends with its own exit code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engines.ray.cluster import RayCluster
from engines.ray.head import Head
from engines.ray.jobs import WAITED_TOO_LONG, Job
from engines.tuning.ray_child import RayChild, code_of
from engines.tuning.ray_submission import request_of
from tests.kit.eventually import eventually
from tests.kit.ray_jobs import FakeRay, fake_ray

_STOPPED, _LOST = 4, 69


class Trainings:
    """Trainings of one job, one after the other or of servers that follow each other, at a cluster of the test."""

    def __init__(self, ray: FakeRay, folder: Path) -> None:
        self.ray = ray
        self.log = folder / "ftjob-1" / "train.log"
        self.log.parent.mkdir()
        self.said: list[str] = []
        self.troubles: list[str] = []
        """What is told of the head."""
        self._heads: list[Head] = []
        self._children: list[RayChild] = []

    def start(self, *, patience: float = 60.0, **other: object) -> RayChild:
        """Start the training as a server that has just begun."""
        head = Head(RayCluster(self.ray.url, poll=0.01), self.troubles.append)
        request = request_of(("train", "x"), self.log, gateway="headgate", threads=1, memory_bytes=2**30)
        child = RayChild(head, request | other, self.log, self.said.append, patience)
        self._heads.append(head)
        self._children.append(child)
        return child

    async def running(self) -> str:
        """Wait until one job runs; give its id."""
        await eventually(lambda: self.ray.states("RUNNING"))
        (name,) = self.ray.states("RUNNING")
        return name

    async def end(self) -> None:
        for child in self._children:
            await child.leave()
        for head in self._heads:
            await head.jobs.close()


@pytest.fixture
async def trainings(tmp_path: Path) -> AsyncIterator[Trainings]:
    async with fake_ray() as ray:
        made = Trainings(ray, tmp_path)
        yield made
        await made.end()


@pytest.mark.parametrize("code", [0, 1, 3, 4])
async def test_it_ends_with_the_exit_code_of_its_command(trainings: Trainings, code: int) -> None:
    child = trainings.start()
    name = await trainings.running()
    assert name.startswith("headgate-ftjob-1-")
    trainings.ray.finish(name, code)
    assert await child.ended() == code
    assert list(trainings.log.parent.iterdir()) == []
    assert trainings.said == []


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (Job(status="FAILED", driver_exit_code=-9), 137),
        (Job(status="FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED"), _LOST),
        (Job(status="STOPPED"), _STOPPED),
        (Job(status="SUCCEEDED"), 0),
    ],
    ids=["killed", "node lost", "stopped by hand", "without a code"],
)
def test_what_has_no_exit_code_has_one_that_says_what_it_was(job: Job, code: int) -> None:
    assert code_of(job) == code


async def test_what_ray_says_of_the_loss_of_a_node_is_told_and_logged(trainings: Trainings) -> None:
    child = trainings.start()
    trainings.ray.fail(await trainings.running(), message="The node has died.")
    assert await child.ended() == _LOST
    assert trainings.said == ["Ray: The node has died."]
    assert trainings.log.read_text() == "Ray: The node has died.\n"


async def test_what_the_shell_says_where_the_folder_is_missing_is_in_the_log(trainings: Trainings) -> None:
    child = trainings.start()
    trainings.ray.finish(await trainings.running(), 2, "sh: 1: cannot create /t/train.log: Directory nonexistent")
    assert await child.ended() == 2
    assert trainings.log.read_text() == "Ray: sh: 1: cannot create /t/train.log: Directory nonexistent\n"


async def test_a_job_that_ray_refuses_has_failed_with_what_ray_says(trainings: Trainings) -> None:
    child = trainings.start(entrypoint=5)
    assert await child.ended() == _LOST
    (said,) = trainings.said
    assert "Ray refused the job: TypeError: entrypoint must be a string" in said


async def test_it_writes_its_checkpoint_before_it_has_stopped(trainings: Trainings) -> None:
    trainings.ray.stops_at_once = False
    child = trainings.start()
    name = await trainings.running()
    child.stop()
    await eventually(lambda: ("POST", f"/api/jobs/{name}/stop") in trainings.ray.asked)
    ended = asyncio.create_task(child.ended())
    looks = len(trainings.ray.asked)
    await eventually(lambda: len(trainings.ray.asked) > looks + 2)
    assert not ended.done()
    trainings.ray.fail(name, status="STOPPED")
    assert await ended == _STOPPED
    child.kill()
    assert list(trainings.log.parent.iterdir()) == []


async def test_a_kill_is_a_stop(trainings: Trainings) -> None:
    child = trainings.start()
    await trainings.running()
    child.kill()
    assert await child.ended() == _STOPPED
    assert trainings.ray.states("RUNNING") == []


async def test_one_that_is_stopped_before_it_is_submitted_never_is(trainings: Trainings) -> None:
    child = trainings.start()
    child.stop()
    assert await child.ended() == _STOPPED
    assert trainings.ray.jobs == {}


async def test_what_is_submitted_while_it_is_stopped_is_stopped(trainings: Trainings) -> None:
    child = trainings.start()
    await eventually(lambda: trainings.ray.asked)
    child.stop()
    assert await child.ended() in (_STOPPED, _LOST)
    assert trainings.ray.states("PENDING", "RUNNING") == []


async def test_without_room_it_waits_and_says_so_once(trainings: Trainings) -> None:
    trainings.ray.room = 0
    child = trainings.start(patience=0.0)
    await eventually(lambda: trainings.said)
    looks = len(trainings.ray.asked)
    await eventually(lambda: len(trainings.ray.asked) > looks + 2)
    assert len(trainings.said) == 1
    assert "waits for the Ray cluster: Job has not started yet" in trainings.said[0]
    await trainings.ray.make_room(1)
    trainings.ray.finish(await trainings.running(), 0)
    assert await child.ended() == 0


async def test_one_that_ray_gives_up_after_it_has_waited_is_submitted_again(trainings: Trainings) -> None:
    trainings.ray.room = 0
    child = trainings.start()
    await eventually(lambda: trainings.ray.states("PENDING"))
    (first,) = trainings.ray.jobs
    trainings.ray.fail(first, error_type=WAITED_TOO_LONG)
    await trainings.ray.make_room(1)
    second = await trainings.running()
    assert second != first
    trainings.ray.finish(second, 0)
    assert await child.ended() == 0


async def test_one_that_waits_for_room_stops_at_once_and_is_over_before_the_next_begins(trainings: Trainings) -> None:
    trainings.ray.room = 0
    first = trainings.start()
    await eventually(lambda: trainings.ray.states("PENDING"))
    (waits,) = trainings.ray.jobs
    first.stop()
    assert await first.ended() == _STOPPED
    next_one = trainings.start()
    looks = len(trainings.ray.asked)
    await eventually(lambda: len(trainings.ray.asked) > looks + 2)
    assert list(trainings.ray.jobs) == [waits]
    await trainings.ray.make_room(1)
    assert await trainings.running() != waits
    assert trainings.ray.states("STOPPED") == [waits]
    trainings.ray.finish(await trainings.running(), 0)
    assert await next_one.ended() == 0


async def test_while_the_head_is_away_it_goes_on_and_is_stopped_when_it_is_back(trainings: Trainings) -> None:
    child = trainings.start()
    name = await trainings.running()
    await trainings.ray.leave()
    child.stop()
    ended = asyncio.create_task(child.ended())
    await eventually(lambda: trainings.troubles)
    assert not ended.done()
    assert trainings.ray.states("RUNNING") == [name]
    await trainings.ray.start()
    assert await ended == _STOPPED
    assert trainings.ray.states("STOPPED") == [name]


async def test_it_is_submitted_when_the_head_comes(trainings: Trainings) -> None:
    await trainings.ray.leave()
    child = trainings.start()
    await eventually(lambda: trainings.troubles)
    await trainings.ray.start()
    trainings.ray.finish(await trainings.running(), 0)
    assert await child.ended() == 0


async def test_the_next_server_finds_the_job_and_its_end(trainings: Trainings) -> None:
    first = trainings.start()
    name = await trainings.running()
    await first.leave()
    second = trainings.start()
    looks = len(trainings.ray.asked)
    await eventually(lambda: len(trainings.ray.asked) > looks + 2)
    await second.leave()
    trainings.ray.finish(name, 3)
    assert await trainings.start().ended() == 3
    assert list(trainings.ray.jobs) == [name]


async def test_a_server_that_has_no_time_leaves_the_end_to_the_next(trainings: Trainings) -> None:
    trainings.ray.stops_at_once = False
    first = trainings.start()
    name = await trainings.running()
    first.stop(grace=0.05)
    assert await first.ended() == _STOPPED
    second = trainings.start()
    looks = len(trainings.ray.asked)
    await eventually(lambda: len(trainings.ray.asked) > looks + 2)
    assert list(trainings.ray.jobs) == [name]
    trainings.ray.fail(name, status="STOPPED")
    trainings.ray.finish(await trainings.running(), 0)
    assert await second.ended() == 0


async def test_a_job_that_the_head_has_forgotten_is_lost(trainings: Trainings) -> None:
    child = trainings.start()
    del trainings.ray.jobs[await trainings.running()]
    assert await child.ended() == _LOST
    assert trainings.said == ["Ray: Ray knows nothing of the job any more."]
