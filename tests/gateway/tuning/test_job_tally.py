"""Jobs are counted as the tuning server tells of them, whichever server that is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest
from aiohttp import web

from engines.tuning.launcher import socket_in
from engines.tuning.records import Status
from gateway.config.schema import Config
from gateway.core.tasks import cancelled
from gateway.tuning.client import TuningClient
from gateway.tuning.job_tally import ENDED, UNDER_WAY, JobTally


class Server:
    """A tuning server that tells counts one after the other, and then has nothing new."""

    def __init__(self, *counts: Mapping[str, int]) -> None:
        self._counts = iter(counts)
        self.asked: list[object] = []
        self.told_all = asyncio.Event()
        self.ending = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """Tell the next counts. The request that finds none is left open."""
        self.asked.append((await request.json())["counts"])
        counts = next(self._counts, None)
        if counts is None:
            self.told_all.set()
            await self.ending.wait()
            return web.Response(status=503)
        return web.json_response(counts)


@asynccontextmanager
async def serving(folder: Path, server: Server) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/counts", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket_in(folder))).start()
    try:
        yield
    finally:
        server.ending.set()
        await runner.cleanup()


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[JobTally, Path]]:
    """Count the jobs of a server in a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        model = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "tuning": {"source": "/w"}}
        config = Config.model_validate({"gateway": {"tuning": {"folder": folder}}, "models": {"m": model}})
        tally = JobTally(TuningClient(config))
        running = asyncio.create_task(tally.run())
        try:
            yield tally, Path(folder)
        finally:
            await cancelled([running])


def test_each_status_is_counted_in_one_place() -> None:
    assert sorted((*UNDER_WAY, *ENDED)) == sorted(get_args(Status))


@pytest.mark.timeout(30)
async def test_jobs_that_end_are_added_up_from_the_first_answer_on() -> None:
    server = Server(
        {"succeeded": 5, "running": 1},
        {"succeeded": 6, "queued": 1},
        {"succeeded": 6, "failed": 1},
    )
    async with counting() as (tally, folder), serving(folder, server):
        await server.told_all.wait()
        assert tally.under_way == {"validating_files": 0, "queued": 0, "running": 0, "paused": 0}
        assert tally.ended == {"succeeded": 1, "failed": 1, "cancelled": 0}
    assert server.asked == [
        None,
        {"succeeded": 5, "running": 1},
        {"succeeded": 6, "queued": 1},
        {"succeeded": 6, "failed": 1},
    ]


@pytest.mark.timeout(30)
async def test_a_server_that_is_started_again_tells_what_has_changed_since() -> None:
    async with counting() as (tally, folder):
        first, second = Server({"running": 2}), Server({"running": 1, "cancelled": 1})
        async with serving(folder, first):
            await first.told_all.wait()
            assert tally.under_way["running"] == 2
        async with serving(folder, second):
            await second.told_all.wait()
        assert (tally.under_way["running"], tally.ended["cancelled"]) == (1, 1)
        assert second.asked[0] == {"running": 2}
