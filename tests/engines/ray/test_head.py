"""All replicas ask one head, and people are told once when it is gone and once when it is back."""

from __future__ import annotations

import pytest

from engines.ray.cluster import RayCluster
from engines.ray.head import Head
from engines.ray.jobs import HeadError
from tests.kit.ray_jobs import fake_ray


async def test_its_end_and_its_return_are_told_once() -> None:
    told: list[str] = []
    async with fake_ray() as ray:
        head = Head(RayCluster(ray.url), told.append)
        assert await head.job("a") is None
        assert told == []
        await ray.leave()
        for _ in range(2):
            with pytest.raises(HeadError):
                await head.job("a")
        ray.garbage = b"<html>"
        await ray.start()
        with pytest.raises(HeadError):
            await head.all()
        assert len(told) == 1
        assert "cannot be asked" in told[0]
        ray.garbage = None
        assert await head.all() == []
        assert told[1:] == [""]
        await head.jobs.close()


async def test_what_cannot_be_stopped_now_is_stopped_later() -> None:
    async with fake_ray() as ray:
        head = Head(RayCluster(ray.url), lambda _: None)
        await head.submit({"entrypoint": "true", "submission_id": "a"})
        head.to_stop |= {"a", "gone"}
        await ray.leave()
        await head.stop_unwanted()
        assert head.to_stop == {"a", "gone"}
        await ray.start()
        await head.stop_unwanted()
        assert head.to_stop == set()
        assert ("POST", "/api/jobs/a/stop") in ray.asked
        await head.jobs.close()
