"""Has replicas run as jobs of a Ray cluster, and looks after the jobs that nobody wants.

It reports the same states as ``engines.supervisor``. A head that cannot be asked changes nothing: replicas that run go
on serving, and what is to be submitted or stopped is so when it answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count
from time import monotonic

import aiohttp

from engines.processes.restart import RestartPolicy
from engines.ray.cluster import RayCluster
from engines.ray.head import Head
from engines.ray.jobs import RUNNING, HeadError, Job
from engines.ray.submission import instance_of, is_ours, placed_of, runs
from engines.ray.supervised_replica import RayReplica
from engines.spec import EngineSpec
from engines.supervisor import ReplicaStatus

_RESTARTS = RestartPolicy()

_LOOK_AROUND_SECONDS = 30.0
"""How often the jobs of others are looked at."""


class RaySupervisor:
    """All replicas that run on a Ray cluster, which may be more or fewer as time goes by.

    ``on_head`` is told why the head cannot be asked, and nothing when it can again. ``say`` takes lines for people.
    At the start, jobs of a gateway of the same name that has ended are taken over by the replicas that are as they are,
    and all others of them are stopped.
    """

    def __init__(
        self,
        cluster: RayCluster,
        on_change: Callable[[ReplicaStatus], None],
        on_head: Callable[[str], None],
        say: Callable[[str], None],
        *,
        restarts: RestartPolicy = _RESTARTS,
    ) -> None:
        self._head = Head(cluster, on_head)
        self._on_change = on_change
        self._say = say
        self._restarts = restarts
        self._replicas: dict[str, RayReplica] = {}
        self._probes: aiohttp.ClientSession | None = None
        self._minding: asyncio.Task[None] | None = None
        self._listed = False
        """Whether it is known which jobs there were at the start."""
        self._known = {self._head.instance}
        """The gateways that are not told of: this one, those before it, and those that were told of."""

    def __repr__(self) -> str:
        return f"<RaySupervisor at {self._head.cluster.url} {list(self._replicas.values())!r}>"

    @property
    def statuses(self) -> Sequence[ReplicaStatus]:
        """What every replica is doing now."""
        return tuple(replica.status for replica in self._replicas.values())

    def add(self, spec: EngineSpec) -> ReplicaStatus:
        """Let there be one more replica: now, or from ``start`` on. Ray says where, and whether there is room."""
        if self._probes is None:
            self._probes = aiohttp.ClientSession()
        # A local replica's name ends in its number alone, so no two are called alike.
        name = next(name for number in count() if (name := f"{spec.model}-ray{number}") not in self._replicas)
        replica = RayReplica(name, spec, self._head, self._on_change, self._restarts, self._probes)
        self._replicas[name] = replica
        if self._listed:
            replica.start()
        return replica.status

    def lacks(self, _spec: EngineSpec) -> str:
        """Say nothing: there may be room, and a replica waits for it where there is none."""
        return ""

    async def remove(self, name: str, grace: float) -> None:
        """Stop a replica, waiting ``grace`` seconds for its end, and forget it then."""
        await self._replicas[name].stop(grace)
        del self._replicas[name]

    def start(self) -> None:
        """Start every replica, and from now on each that is added; returns at once."""
        self._minding = asyncio.get_running_loop().create_task(self._mind())

    async def stop(self, grace: float) -> None:
        """Stop all replicas side by side, waiting ``grace`` seconds for their ends."""
        if self._minding is not None:
            self._minding.cancel()
            await asyncio.gather(self._minding, return_exceptions=True)
        await asyncio.gather(*(replica.stop(grace) for replica in self._replicas.values()))
        if self._head.to_stop:
            left = ", ".join(sorted(self._head.to_stop))
            self._say(f"jobs of the Ray cluster could not be stopped, and may go on: {left}")
        await self._head.jobs.close()
        if self._probes is not None:
            await self._probes.close()

    async def _mind(self) -> None:
        """Find the jobs that are there, then stop what nobody wants and look for others of the same name."""
        while not self._listed:
            try:
                self._take_over(await self._head.all())
            except HeadError as error:
                for replica in self._replicas.values():
                    replica.awaits_head(error)
                await self._head.pause()
        looked = monotonic()
        while True:
            await self._head.stop_unwanted()
            if monotonic() - looked >= _LOOK_AROUND_SECONDS:
                with suppress(HeadError):
                    self._look_for_strangers(await self._head.all())
                looked = monotonic()
            await self._head.pause()

    def _take_over(self, jobs: Sequence[Job]) -> None:
        """Start all replicas, each as a job that runs as it is to be, if there is one; stop the other jobs."""
        self._listed = True
        head = self._head
        self._known |= {instance_of(job) for job in jobs}
        # One that runs is worth more than one that waits.
        there = sorted((job for job in jobs if is_ours(head, job)), key=lambda job: job.status != RUNNING)
        for replica in self._replicas.values():
            job = next((job for job in there if runs(head, job, replica.spec)), None)
            if job is None:
                replica.start()
            else:
                there.remove(job)
                placed = placed_of(head, job)
                self._say(f"{replica.status.replica}: takes over the job {placed.submission_id} of the Ray cluster")
                replica.start(placed)
        if there:
            head.to_stop |= {placed_of(head, job).submission_id for job in there}
            self._say(f"stops {len(there)} jobs of the Ray cluster that a gateway of this name has left")

    def _look_for_strangers(self, jobs: Iterable[Job]) -> None:
        """Say once of each other gateway of the same name that it is there."""
        head = self._head
        for job in jobs:
            stranger = instance_of(job)
            if is_ours(head, job) and stranger not in self._known:
                self._known.add(stranger)
                self._say(
                    f"another gateway ({stranger}) has jobs of the name {head.cluster.name!r} on the Ray cluster; "
                    "give each gateway a name of its own (gateway.ray.name)"
                )
