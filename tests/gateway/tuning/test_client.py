"""The tuning server is asked over its socket, and what it refuses is refused with its words."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from engines.tuning.errors import no_such_job
from engines.tuning.launcher import socket_in
from gateway.config.schema import Config
from gateway.core.errors import BadRequest, EngineRefusal, Unavailable
from gateway.tuning.client import TuningClient, models_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        yield Path(path)


def client(folder: Path, *, tunable: bool = True) -> TuningClient:
    model = {"engine": "onnx", "source": "/m", "tasks": ["embed"]}
    models = {"m": model | {"tuning": {"source": "/w"}} if tunable else model}
    return TuningClient(Config.model_validate({"gateway": {"tuning": {"folder": str(folder)}}, "models": models}))


@asynccontextmanager
async def answering(folder: Path) -> AsyncIterator[list[str]]:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs} {(await request.read()).decode()}")
        if request.path == "/jobs/none":
            error = no_such_job("none")
            return web.Response(status=error.status, body=error.body(), content_type="application/json")
        return web.Response(body=b"{}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket_in(folder))).start()
    try:
        yield asked
    finally:
        await runner.cleanup()


async def test_it_asks_with_what_it_is_given(folder: Path) -> None:
    async with answering(folder) as asked:
        assert await client(folder).get("/jobs", owner="a b", limit="2") == b"{}"
        assert await client(folder).post("/jobs", b'{"x": 1}') == b"{}"
    assert asked == ["GET /jobs?owner=a+b&limit=2 ", 'POST /jobs {"x": 1}']


async def test_a_refusal_keeps_its_words(folder: Path) -> None:
    async with answering(folder):
        with pytest.raises(EngineRefusal, match="There is no fine-tuning job 'none'") as refused:
            await client(folder).get("/jobs/none")
    assert (refused.value.status, refused.value.code, refused.value.param) == (404, "not_found", "fine_tuning_job_id")


async def test_a_server_that_is_down_will_be_there_again(folder: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        await client(folder).get("/jobs")
    assert (refused.value.code, refused.value.retry_after) == ("tuning_unavailable", 1.0)


async def test_a_server_of_another_gateway_is_not_asked(folder: Path) -> None:
    (folder / "gateway.lock").write_text("elsewhere 1\n")
    async with answering(folder) as asked:
        with pytest.raises(Unavailable, match=r"belongs to another gateway; .* \(gateway\.tuning\.folder\)") as refused:
            await client(folder).get("/jobs")
    assert (refused.value.status, refused.value.code, asked) == (503, "tuning_unavailable", [])


async def test_without_anything_to_tune_no_server_is_asked(folder: Path) -> None:
    none = client(folder, tunable=False)
    assert not none.wanted
    with pytest.raises(BadRequest, match=r"No model here can be fine-tuned; the table \[models\.NAME\.tuning\]"):
        await none.get("/jobs")
    (folder / "jobs.sqlite3").touch()
    assert none.wanted


def test_a_model_that_cannot_be_tuned_is_told_beside_those_that_can(folder: Path) -> None:
    assert client(folder).base("m", {"m"}.__contains__).kind == "classifier"
    with pytest.raises(BadRequest, match="'x' cannot be fine-tuned, because it does not run here; these can: m"):
        client(folder).base("x", {"m"}.__contains__)


def test_a_model_that_the_asker_may_not_use_is_not_told_among_those_that_can(folder: Path) -> None:
    with pytest.raises(BadRequest, match="'x' cannot be fine-tuned, because it does not run here; no model here can"):
        client(folder).base("x", {"x"}.__contains__)


def test_published_models_are_listed_in_the_tuning_folder(folder: Path) -> None:
    assert models_folder(client(folder).folder) == folder / "models"
