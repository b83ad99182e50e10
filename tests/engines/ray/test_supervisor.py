"""Replicas on a cluster go through the same states as those here, and nothing of them is left or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engines.processes.restart import RestartPolicy
from engines.ray import supervisor as module
from engines.ray.cluster import RayCluster
from engines.ray.supervisor import RaySupervisor
from engines.spec import EngineSpec, FolderSource, RayDemand
from engines.supervisor import ReplicaStatus, State
from tests.kit.eventually import eventually
from tests.kit.ray_jobs import FakeRay, fake_ray

SPEC = EngineSpec("m", "onnx", FolderSource(Path("/m")), tasks=("embed",), ray=RayDemand())


class Watched:
    """A supervisor of replicas on a cluster, with all that it said."""

    def __init__(self, ray: FakeRay, name: str = "headgate", python: str = "python3") -> None:
        self.said: list[ReplicaStatus] = []
        self.lines: list[str] = []
        self.head: list[str] = []
        cluster = RayCluster(ray.url, name, poll=0.01, python=python)
        restarts = RestartPolicy(first=0.01, longest=0.05)
        self.supervisor = RaySupervisor(
            cluster, self.said.append, self.head.append, self.lines.append, restarts=restarts
        )

    def states(self, replica: str = "m-ray0") -> list[str]:
        """Give the states of a replica one after the other, each once."""
        states = [status.state.value for status in self.said if status.replica == replica]
        return [state for state, before in zip(states, ["", *states], strict=False) if state != before]

    @property
    def now(self) -> list[State]:
        return [status.state for status in self.supervisor.statuses]

    async def until(self, *states: State) -> None:
        await eventually(lambda: self.now == list(states))


@asynccontextmanager
async def watching(ray: FakeRay, replicas: int = 1, **options: Any) -> AsyncIterator[Watched]:
    watched = Watched(ray, **options)
    for _ in range(replicas):
        watched.supervisor.add(SPEC)
    watched.supervisor.start()
    try:
        yield watched
    finally:
        await watched.supervisor.stop(1.0)


async def crash(watched: Watched) -> None:
    """End a supervisor as a killed gateway does: its jobs stay."""
    for replica in watched.supervisor._replicas.values():
        assert replica._task is not None
        replica._task.cancel()
        replica._placed = None
    await watched.supervisor.stop(0.0)


async def test_a_replica_is_submitted_started_and_stopped() -> None:
    async with fake_ray() as ray:
        async with watching(ray) as watched:
            await watched.until(State.READY)
            (job,) = ray.states("RUNNING")
            (status,) = watched.supervisor.statuses
            assert status.address == f"http://127.0.0.1:{ray.jobs[job]['metadata']['headgate_port']}"
            assert status.key == ray.keys[job] != ""
            assert status.key not in repr(status)
            await watched.supervisor.remove("m-ray0", 1.0)
            assert ray.states("STOPPED") == [job]
            assert watched.supervisor.statuses == ()
        assert watched.states() == ["starting", "ready", "stopped"]


async def test_without_room_a_replica_waits_and_rays_reason_is_told() -> None:
    async with fake_ray(room=1) as ray, watching(ray, 2) as watched:
        await eventually(lambda: sorted(watched.now) == [State.PENDING, State.READY])
        (waiting,) = [status for status in watched.supervisor.statuses if status.state is State.PENDING]
        await eventually(lambda: "waiting for resources" in next(iter(_pending(watched))).reason)
        assert waiting.address == "http://ray.invalid"
        await ray.make_room(2)
        await watched.until(State.READY, State.READY)


def _pending(watched: Watched) -> list[ReplicaStatus]:
    return [status for status in watched.supervisor.statuses if status.state is State.PENDING]


async def test_one_that_is_no_longer_wanted_while_it_waits_never_serves() -> None:
    async with fake_ray(room=0) as ray, watching(ray) as watched:
        await eventually(lambda: ray.states("PENDING"))
        await watched.supervisor.remove("m-ray0", 1.0)
        assert watched.supervisor.statuses == ()
        await ray.make_room(1)
        await eventually(lambda: ray.states("STOPPED"))
        assert not ray.states("RUNNING")


async def test_a_lost_node_is_told_and_its_replica_submitted_again() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        await watched.until(State.READY)
        (job,) = ray.states("RUNNING")
        ray.fail(job, error_type="JOB_SUPERVISOR_ACTOR_DIED", message="Job supervisor actor died: its node died.")
        await eventually(
            lambda: watched.states() == ["starting", "ready", "restarting", "pending", "starting", "ready"]
        )
        (again,) = ray.states("RUNNING")
        assert again != job
        (told,) = [status.reason for status in watched.said if status.state is State.RESTARTING]
        assert told.startswith("Its job ended (JOB_SUPERVISOR_ACTOR_DIED): Job supervisor actor died: its node died.")
        assert told.endswith("Next try in 0.01 s.")


async def test_one_that_was_stopped_by_others_says_so_and_comes_back() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        await watched.until(State.READY)
        ray.fail(ray.states("RUNNING")[0], status="STOPPED")
        await eventually(lambda: any("was stopped by others" in status.reason for status in watched.said))
        await watched.until(State.READY)


async def test_what_no_other_try_can_mend_is_not_tried_again() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        await watched.until(State.READY)
        ray.fail(ray.states("RUNNING")[0], driver_exit_code=65, message="error: no model.onnx in /m")
        await watched.until(State.FAILED)
        assert watched.supervisor.statuses[0].reason == "error: no model.onnx in /m"
        assert len(ray.jobs) == 1


async def test_ray_giving_up_to_look_for_room_is_no_failure() -> None:
    async with fake_ray(room=0) as ray, watching(ray) as watched:
        await eventually(lambda: ray.states("PENDING"))
        ray.fail(ray.states("PENDING")[0], error_type="JOB_SUPERVISOR_ACTOR_START_TIMEOUT")
        await eventually(lambda: len(ray.jobs) == 2)
        assert watched.states() in ([], ["pending"])


async def test_while_the_head_is_gone_replicas_serve_and_others_come_when_it_is_back() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        await watched.until(State.READY)
        await ray.leave()
        watched.supervisor.add(SPEC)
        await eventually(lambda: watched.head)
        await eventually(lambda: _pending(watched) and "cannot be asked" in _pending(watched)[0].reason)
        assert watched.supervisor.statuses[0].state is State.READY
        await ray.start()
        await watched.until(State.READY, State.READY)
        assert watched.head[1:] == [""]
        assert len(ray.jobs) == 2


async def test_a_replica_that_waits_for_a_head_that_never_answered_says_so() -> None:
    async with fake_ray() as ray:
        await ray.leave()
        async with watching(ray) as watched:
            await eventually(lambda: "cannot be asked" in watched.supervisor.statuses[0].reason)
            await ray.start()
            await watched.until(State.READY)
        assert watched.states() == ["pending", "starting", "ready", "stopped"]


async def test_a_replica_that_starts_becomes_ready_without_the_head() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        ray.healthy = False
        await watched.until(State.STARTING)
        await ray.leave()
        await eventually(lambda: watched.head)
        ray.healthy = True
        await watched.until(State.READY)
        await ray.start()


async def test_a_head_that_answers_garbage_is_as_good_as_gone() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        await watched.until(State.READY)
        ray.garbage = b"<html>Please log in</html>"
        await eventually(lambda: watched.head)
        assert watched.head == ["what answers is not the Jobs API of Ray"]
        assert watched.now == [State.READY]
        ray.garbage = None
        await eventually(lambda: len(watched.head) == 2)


async def test_what_is_stopped_while_the_head_is_gone_is_stopped_when_it_is_back() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        await watched.until(State.READY)
        await ray.leave()
        await watched.supervisor.remove("m-ray0", 0.05)
        assert len(ray.states("RUNNING")) == 1
        await ray.start()
        await eventually(lambda: ray.states("STOPPED"))


async def test_a_job_that_ray_has_forgotten_is_submitted_again() -> None:
    async with fake_ray() as ray, watching(ray) as watched:
        await watched.until(State.READY)
        job = ray.states("RUNNING")[0]
        ray.fail(job)
        del ray.jobs[job]
        await eventually(lambda: any("Ray knows nothing of its job" in status.reason for status in watched.said))
        await watched.until(State.READY)


async def test_a_gateway_that_comes_back_takes_its_jobs_over_and_stops_those_it_does_not_need() -> None:
    async with fake_ray() as ray:
        async with watching(ray, 2) as first:
            await first.until(State.READY, State.READY)
            keys = set(ray.keys.values())
            await crash(first)
        assert len(ray.states("RUNNING")) == 2
        async with watching(ray) as second:
            await second.until(State.READY)
            await eventually(lambda: len(ray.states("STOPPED")) == 1)
            assert len(ray.jobs) == 2
            assert second.supervisor.statuses[0].key in keys
            assert "takes over the job headgate-m-ray" in second.lines[0]
            assert second.lines[1] == "stops 1 jobs of the Ray cluster that a gateway of this name has left"


async def test_jobs_of_another_name_are_left_alone() -> None:
    async with fake_ray() as ray, watching(ray, name="a") as first:
        await first.until(State.READY)
        async with watching(ray, name="b") as second:
            await second.until(State.READY)
            assert len(ray.states("RUNNING")) == 2
            assert second.lines == []


async def test_another_gateway_of_the_same_name_is_told_of_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_LOOK_AROUND_SECONDS", 0.01)
    async with fake_ray() as ray, watching(ray) as first:
        await first.until(State.READY)
        async with watching(ray, 2) as second:
            await eventually(lambda: first.lines)
            await second.until(State.READY, State.READY)
        assert len(first.lines) == 1
        assert "give each gateway a name of its own (gateway.ray.name)" in first.lines[0]
