"""One replica on a cluster: submitted once whatever gets lost, and given up where it does not become ready."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
from aiohttp import web

from engines.processes.restart import RestartPolicy
from engines.ray.cluster import RayCluster
from engines.ray.head import Head
from engines.ray.supervised_replica import NOWHERE, RayReplica
from engines.spec import EngineSpec, FolderSource, RayDemand
from engines.supervisor import ReplicaStatus, State
from tests.kit.eventually import eventually
from tests.kit.ray_jobs import FakeRay, fake_ray

SPEC = EngineSpec("m", "onnx", FolderSource(Path("/m")), tasks=("embed",), ray=RayDemand())


@asynccontextmanager
async def running(ray: FakeRay, spec: EngineSpec = SPEC) -> AsyncIterator[tuple[RayReplica, list[ReplicaStatus]]]:
    said: list[ReplicaStatus] = []
    head = Head(RayCluster(ray.url, poll=0.01), lambda _: None)
    async with aiohttp.ClientSession() as probes:
        replica = RayReplica("m-ray0", spec, head, said.append, RestartPolicy(first=0.01), probes)
        assert (replica.status.state, replica.status.address) == (State.PENDING, NOWHERE)
        replica.start()
        try:
            yield replica, said
        finally:
            await replica.stop(1.0)
            await head.jobs.close()


async def test_one_that_does_not_become_ready_is_stopped_and_tried_again() -> None:
    async with fake_ray() as ray:
        ray.healthy = False
        async with running(ray, replace(SPEC, startup_timeout=0.1)) as (replica, said):
            await eventually(lambda: len(ray.states("STOPPED")) > 0)
            ray.healthy = True
            await eventually(lambda: replica.status.state is State.READY)
        told = next(status.reason for status in said if status.state is State.RESTARTING)
        assert told.startswith("It was not ready within 0.1 s at http://127.0.0.1:2")


class LosesAnswers(FakeRay):
    """A cluster whose answers to what is submitted get lost, the first time."""

    lost = False

    async def _submit(self, request: web.Request) -> web.Response:
        answer = await super()._submit(request)
        if self.lost:
            return answer
        self.lost = True
        return web.Response(status=502, text="Bad gateway")


async def test_a_job_whose_answer_got_lost_is_not_submitted_twice() -> None:
    ray = LosesAnswers()
    await ray.start()
    async with running(ray) as (replica, _):
        await eventually(lambda: replica.status.state is State.READY)
        assert len(ray.jobs) == 1
    await ray.end()


async def test_a_start_that_waits_for_room_for_long_says_so() -> None:
    async with fake_ray(room=0) as ray, running(ray, replace(SPEC, startup_timeout=0.05)) as (replica, _):
        await eventually(lambda: replica.status.reason.endswith("It has waited for 0.05 s."))


async def test_one_that_is_stopped_as_it_is_submitted_leaves_nothing() -> None:
    async with fake_ray() as ray:
        async with running(ray):
            await eventually(lambda: ("POST", "/api/jobs/") in ray.asked)
        await eventually(lambda: not ray.states("RUNNING", "PENDING"))
