"""One replica on a Ray cluster: submitted, watched until its job ends, and submitted again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import aiohttp

from engines.processes.restart import RestartPolicy, with_next_try
from engines.ray.head import Head
from engines.ray.jobs import PENDING, WAITED_TOO_LONG, HeadError, Job, Refused
from engines.ray.order import USELESS
from engines.ray.submission import Placed, new_job
from engines.spec import EngineSpec
from engines.supervisor import ReplicaStatus, State

NOWHERE = "http://ray.invalid"
"""The address of a replica that has none yet (RFC 6761)."""

_REASON_LINES = 15
_PROBE_SECONDS = 5.0


class Useless(Exception):
    """The node says that no other try can succeed, and why."""


class RayReplica:
    """One replica, and the job that it is at the time."""

    def __init__(
        self,
        name: str,
        spec: EngineSpec,
        head: Head,
        on_change: Callable[[ReplicaStatus], None],
        restarts: RestartPolicy,
        probes: aiohttp.ClientSession,
    ) -> None:
        self.spec = spec
        self._head = head
        self._on_change = on_change
        self._restarts = restarts
        self._probes = probes
        self._failures = 0
        """How many runs have failed in a row."""
        self._placed: Placed | None = None
        self._pending = False
        self._submitting: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.status = ReplicaStatus(spec.model, name, State.PENDING, NOWHERE)

    def __repr__(self) -> str:
        return f"<RayReplica {self.status.replica!r} [{self.status.state}]>"

    def start(self, placed: Placed | None = None) -> None:
        """Start the task that keeps the replica running, at first as a job that is there; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._keep_running(placed))

    def awaits_head(self, error: HeadError) -> None:
        """Say that it waits for the head, which cannot be asked."""
        self._report(State.PENDING, f"The head of the Ray cluster cannot be asked: {error}.")

    async def stop(self, grace: float) -> None:
        """Stop the job, and wait ``grace`` seconds for its end. Ray gives it three seconds to end by itself."""
        if self._task is not None:
            self._task.cancel()
        await asyncio.gather(*filter(None, (self._task, self._submitting)), return_exceptions=True)
        if self._placed is not None:
            submission_id = self._placed.submission_id
            self._head.to_stop.add(submission_id)
            await self._head.stop_unwanted()
            # One that waits for room ends only when it has found some.
            if not self._pending:
                await self._ended(submission_id, grace)
        self._report(State.STOPPED)

    async def _ended(self, submission_id: str, within: float) -> None:
        with suppress(TimeoutError, HeadError):
            async with asyncio.timeout(within):
                while (job := await self._head.job(submission_id)) is not None and not job.ended:
                    await self._head.pause()

    async def _keep_running(self, placed: Placed | None) -> None:
        """Run the replica again and again, with the pauses of the restart policy."""
        while True:
            state, served = State.RESTARTING, 0.0
            try:
                reason, served = await self._run(placed)
            except Useless as error:
                self._report(State.FAILED, str(error))
                return
            except Refused as error:
                state, reason = State.FAILED, f"Ray refused the job: {error}"
            self._placed = placed = None
            self._failures = self._restarts.failures(self._failures, served)
            pause = self._restarts.pause(self._failures)
            self._report(state, with_next_try(reason, pause))
            await asyncio.sleep(pause)

    async def _run(self, placed: Placed | None) -> tuple[str, float]:
        """Run a job until it ends; return why it did, and for how many seconds the replica had been ready.

        Raises ``Refused``, and ``Useless`` where no other try can succeed.
        """
        self._report(State.PENDING)
        self._pending = True
        self._placed = placed = await self._submitted() if placed is None else placed
        while (job := await self._while_pending(placed)).error_type == WAITED_TOO_LONG:
            placed = await self._submitted()
        self._pending = False
        if job.ended:
            return _why(job), 0.0
        address = f"http://{job.host}:{placed.port}"
        self._report(State.STARTING, address=address, key=placed.key)
        limit = self.spec.startup_timeout
        try:
            async with asyncio.timeout(limit):
                while not await self._is_ready(address):
                    now = await self._glance(placed)
                    if now is not None and now.ended:
                        return _why(now), 0.0
                    await self._head.pause()
        except TimeoutError:
            self._head.to_stop.add(placed.submission_id)
            await self._head.stop_unwanted()
            return f"It was not ready within {limit:g} s at {address}.", 0.0
        since = monotonic()
        self._report(State.READY)
        while not (job := await self._look(placed)).ended:
            await self._head.pause()
        return _why(job), monotonic() - since

    async def _submitted(self) -> Placed:
        """Submit a job, as soon as the head takes it. Whether an answer is lost or not, it is submitted once."""
        head = self._head
        placed, job = new_job(head, self.spec, self.status.replica)
        self._placed = placed
        while True:
            try:
                if await head.job(placed.submission_id) is None:
                    # Not in the middle of it: what has been sent is submitted, and has to be stopped.
                    self._submitting = asyncio.get_running_loop().create_task(head.submit(job))
                    await asyncio.shield(self._submitting)
                return placed
            except HeadError as error:
                self.awaits_head(error)
            await head.pause()

    async def _while_pending(self, placed: Placed) -> Job:
        """Wait until Ray has found room for a job, and say what it says meanwhile."""
        since, waits_long = monotonic(), False
        while (job := await self._look(placed)).status == PENDING:
            waits_long = waits_long or monotonic() - since > self.spec.startup_timeout
            longer = f" It has waited for {self.spec.startup_timeout:g} s." if waits_long else ""
            self._report(State.PENDING, f"{job.message or 'Ray says no more.'}{longer}")
            await self._head.pause()
        return job

    async def _look(self, placed: Placed) -> Job:
        """Ask for the job until there is an answer."""
        while (job := await self._glance(placed)) is None:
            await self._head.pause()
        return job

    async def _glance(self, placed: Placed) -> Job | None:
        """Ask for the job once; ``None`` if the head cannot be asked."""
        try:
            return await self._head.job(placed.submission_id) or _GONE
        except HeadError:
            return None

    async def _is_ready(self, address: str) -> bool:
        """Whether the engine says that it is ready. It does so to everyone."""
        try:
            within = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
            async with self._probes.get(f"{address}/health", timeout=within, allow_redirects=False) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _report(self, state: State, reason: str = "", *, address: str = "", key: str = "") -> None:
        before = self.status
        status = ReplicaStatus(
            before.model, before.replica, state, address or before.address, reason, key if address else before.key
        )
        if status != before:
            self.status = status
            self._on_change(status)


_GONE = Job(status="FAILED", message="Ray knows nothing of its job any more.")


def _why(job: Job) -> str:
    """Say why a job ended. Raises ``Useless``."""
    lines = (job.message or "").strip().splitlines()[-_REASON_LINES:]
    said = "\n".join(lines)
    if job.driver_exit_code == USELESS:
        raise Useless(said)
    if job.status == "STOPPED":
        return "Its job was stopped by others: by hand, or by another gateway of the same name."
    return f"Its job ended ({job.error_type or job.status}): {said}"
