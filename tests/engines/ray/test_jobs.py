"""Ray's Jobs API is asked as it wants to be, and what cannot be an answer of it is an error in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engines.ray.jobs import HeadError, Job, Jobs, Refused
from tests.kit.ray_jobs import FakeRay, fake_ray


@asynccontextmanager
async def asked(token: str = "", wanted: str = "") -> AsyncIterator[tuple[FakeRay, Jobs]]:
    async with fake_ray(room=0, token=wanted) as ray:
        jobs = Jobs(f"{ray.url}/", lambda: token)
        try:
            yield ray, jobs
        finally:
            await jobs.close()


async def test_a_job_is_submitted_seen_and_stopped() -> None:
    async with asked() as (_, jobs):
        assert await jobs.job("a") is None
        await jobs.submit({"entrypoint": "true", "submission_id": "a", "metadata": {"x": "y"}})
        job = await jobs.job("a")
        assert job is not None
        assert (job.status, job.metadata, job.ended, job.host) == ("PENDING", {"x": "y"}, False, None)
        assert [each.submission_id for each in await jobs.all()] == ["a"]
        await jobs.stop("a")
        await jobs.stop("never")


async def test_a_job_that_is_wrong_is_refused_with_the_last_line_of_the_traceback() -> None:
    async with asked() as (_, jobs):
        with pytest.raises(Refused, match=r"^TypeError: entrypoint must be a string, got <class 'int'>$"):
            await jobs.submit({"entrypoint": 1, "submission_id": "a"})


async def test_the_token_is_sent_and_its_lack_is_named() -> None:
    async with asked("t0ken", wanted="t0ken") as (_, jobs):
        assert await jobs.all() == []
    async with asked(wanted="t0ken") as (_, jobs):
        with pytest.raises(HeadError, match="the head answered 401: it wants the token"):
            await jobs.all()


@pytest.mark.parametrize("garbage", [b"", b"<html>", b"[1]", b'{"status": 3}', b"\xff"])
async def test_what_is_no_answer_of_ray_is_an_error(garbage: bytes) -> None:
    async with asked() as (ray, jobs):
        ray.garbage = garbage
        for asking in (jobs.all, lambda: jobs.job("a")):
            with pytest.raises(HeadError, match="what answers is not the Jobs API of Ray"):
                await asking()


async def test_a_head_that_is_gone_is_an_error() -> None:
    async with fake_ray() as ray:
        await ray.leave()
        jobs = Jobs(ray.url, str)
        with pytest.raises(HeadError, match=f"^{ray.url} cannot be asked: "):
            await jobs.job("a")
        await jobs.close()
        await ray.start()


async def test_a_token_that_cannot_be_read_is_an_error() -> None:
    def unreadable() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/run/token")

    jobs = Jobs("http://127.0.0.1:1", unreadable)
    with pytest.raises(HeadError, match="/run/token"):
        await jobs.all()
    await jobs.close()


def test_the_host_of_a_job_is_that_of_its_nodes_agent() -> None:
    assert Job("RUNNING", driver_agent_http_address="http://10.0.0.5:52365").host == "10.0.0.5"
    assert Job("RUNNING", driver_agent_http_address="http://[fd00::5]:52365").host == "[fd00::5]"
