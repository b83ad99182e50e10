"""Ray's Jobs API as its clients see it, with answers as Ray 2.60 gives them; its replicas are servers within the test.

Of other jobs nothing runs: a test says when they end.

``tests/e2e/test_ray.py`` asks a real cluster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from engines.ray.order import VARIABLE, Order

WAITS = (
    "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become "
    "available. It may be waiting for the runtime environment to be set up."
)
NODE_LOST = "JOB_SUPERVISOR_ACTOR_DIED"
_MESSAGES = {
    "PENDING": WAITS,
    "RUNNING": "Job is currently running.",
    "STOPPED": "Job was intentionally stopped.",
    "FAILED": "Job failed.",
}
_SETTING_UP = "2026-11-28 08:08:49,443\tINFO job_manager.py:581 -- Runtime env is setting up."
_NOT_YET = {
    "driver_agent_http_address": None,
    "driver_node_id": None,
    "driver_exit_code": None,
    "end_time": None,
    "error_type": None,
}


class FakeRay:
    """A cluster with ``room`` for so many jobs; those beyond wait. ``token`` is what it wants, if anything."""

    def __init__(self, room: int = 64, token: str = "") -> None:
        self.room = room
        self.token = token
        self.healthy = True
        """Whether engines that are started say that they are ready."""
        self.stops_at_once = True
        """Whether jobs end as soon as they are asked to, and not when the test says so."""
        self.garbage: bytes | None = None
        """What is answered instead of everything, with 200."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.keys: dict[str, str] = {}
        """By which key the engine of each job is to be asked, by the job's id."""
        self.heads: list[bytes] = []
        """What engines were asked, but for their probes."""
        self._engines: dict[str, asyncio.Server] = {}
        self._asked_to_stop: set[str] = set()
        self._filling: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def states(self, *states: str) -> list[str]:
        """Give the ids of the jobs that are in one of these states, in the order in which they came."""
        return [name for name, job in self.jobs.items() if job["status"] in states]

    async def start(self) -> None:
        """Answer from now on, at the same port as before."""
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/", self._list),
                web.get("/api/jobs/{id}", self._show),
                web.post("/api/jobs/{id}/stop", self._stop),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def leave(self) -> None:
        """Answer no more; what runs goes on."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def end(self) -> None:
        """End with all that runs, also what is just being started."""
        await self.leave()
        await asyncio.gather(*self._filling)
        for name in list(self._engines):
            self._end_engine(name)

    async def make_room(self, room: int) -> None:
        """Have room for so many jobs from now on."""
        self.room = room
        await self._fill()

    def fail(self, name: str, **changes: Any) -> None:
        """Let a job end without having been asked to."""
        self._end_engine(name)
        self.jobs[name] |= {"status": "FAILED", "message": "Job failed.", **changes}

    def finish(self, name: str, code: int, said: str = "") -> None:
        """Let the command of a job end with an exit code, as Ray tells it, having written something of its own."""
        if code == 0:
            self.fail(name, status="SUCCEEDED", message="Job finished successfully.", driver_exit_code=0)
            return
        ran = f"Running entrypoint for job {name}: {self.jobs[name]['entrypoint']}"
        self.fail(
            name,
            driver_exit_code=code,
            error_type="JOB_ENTRYPOINT_COMMAND_ERROR",
            message=f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 "
            f"chars):\n{_SETTING_UP}\n{said}\n{ran}",
        )

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="Unauthorized: Missing authentication token")
        if self.garbage is not None:
            return web.Response(body=self.garbage)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _submit(self, request: web.Request) -> web.Response:
        given = json.loads(await request.read())
        name = given["submission_id"]
        if not isinstance(given["entrypoint"], str):
            return web.Response(status=400, text="…\nTypeError: entrypoint must be a string, got <class 'int'>")
        if name in self.jobs:
            return web.Response(status=500, text=f"…\nValueError: Job with submission_id {name} already exists.")
        shown = {key: given.get(key) for key in ("entrypoint", "metadata", "runtime_env")}
        self.jobs[name] = {"type": "SUBMISSION", "submission_id": name, "status": "PENDING", **_NOT_YET, **shown}
        self.jobs[name]["message"] = WAITS
        self.jobs[name]["asked"] = given
        self._filling.add(asyncio.create_task(self._fill()))
        return web.json_response({"job_id": name, "submission_id": name})

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response([_shown(job) for job in self.jobs.values()])

    async def _show(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.jobs:
            return web.Response(status=404, text=f"Job {name} does not exist")
        return web.json_response(_shown(self.jobs[name]))

    async def _stop(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.jobs:
            return web.Response(status=404, text=f"Job {name} does not exist")
        stopped = self.jobs[name]["status"] in ("PENDING", "RUNNING")
        if self.jobs[name]["status"] == "RUNNING" and self.stops_at_once:
            self._end_engine(name)
            self.jobs[name] |= {"status": "STOPPED", "message": _MESSAGES["STOPPED"]}
            await self._fill()
        elif self.jobs[name]["status"] == "PENDING":
            # One that waits goes on waiting, and ends as soon as it runs.
            self._asked_to_stop.add(name)
        return web.json_response({"stopped": stopped})

    async def _fill(self) -> None:
        """Let those that wait run, as far as there is room."""
        for name in self.states("PENDING"):
            if len(self.states("RUNNING")) >= self.room:
                return
            self.jobs[name] |= {
                "status": "RUNNING",
                "message": _MESSAGES["RUNNING"],
                "driver_agent_http_address": "http://127.0.0.1:52365",
                "driver_node_id": "eb432eb830",
            }
            if name in self._asked_to_stop:
                self.jobs[name] |= {"status": "STOPPED", "message": _MESSAGES["STOPPED"]}
                continue
            environment = self.jobs[name]["asked"].get("runtime_env", {}).get("env_vars", {})
            if VARIABLE not in environment:
                continue
            order = Order.read(environment)
            self.keys[name] = order.key
            self._engines[name] = await asyncio.start_server(self._engine, "127.0.0.1", order.port)
            if name not in self.states("RUNNING"):
                self._end_engine(name)

    async def _engine(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"GET /health "):
            self.heads.append(head)
        status = b"200 OK" if self.healthy else b"503 Service Unavailable"
        writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        writer.close()

    def _end_engine(self, name: str) -> None:
        if name in self._engines:
            self._engines.pop(name).close()


def _shown(job: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if key != "asked"}


@asynccontextmanager
async def fake_ray(room: int = 64, token: str = "") -> AsyncIterator[FakeRay]:
    """Run a cluster that is none."""
    ray = FakeRay(room, token)
    await ray.start()
    try:
        yield ray
    finally:
        await ray.end()
