"""Engines run on a Ray cluster as they do here, and whether its head answers is shown."""

from __future__ import annotations

import io

import aiohttp

from tests.kit.eventually import eventually
from tests.kit.gateways import gateway
from tests.kit.ray_jobs import fake_ray


async def test_replicas_on_a_ray_cluster_are_asked_with_their_keys_and_stopped_at_the_end() -> None:
    model = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "placement": "ray"}
    async with fake_ray() as ray:
        async with gateway({"m": model}, ready=[], ray={"address": ray.url, "poll": 0.1}) as served:
            await served.gateway.fleet.settle()
            (job,) = ray.states("RUNNING")
            async with aiohttp.ClientSession() as http:
                async with http.post(f"{served.address}/v1/embeddings", json={"model": "m", "input": "a"}) as answer:
                    assert answer.status == 200
                assert f"authorization: Bearer {ray.keys[job]}\r\n".encode() in ray.heads[-1]
            assert "headgate_ray_up 1.0" in await served.metrics()
        assert ray.states("STOPPED") == [job]


async def test_a_replica_that_waits_for_room_on_a_cluster_says_what_ray_says() -> None:
    model = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "placement": "ray", "required": False}
    async with (
        fake_ray(room=0) as ray,
        gateway({"m": model}, ready=[], ray={"address": ray.url, "poll": 0.1}) as served,
    ):
        plane = served.gateway.plane
        (replica,) = plane.registry.replicas
        await eventually(lambda: "waiting for resources" in replica.reason)
        assert 'headgate_replicas{model="m",state="pending"} 1.0' in await served.metrics()
        await ray.leave()
        await eventually(lambda: plane.exposition.ray_up is False)
        await ray.start()
        await eventually(lambda: plane.exposition.ray_up is True)


async def test_while_what_answers_for_the_cluster_is_not_its_head_replicas_serve_and_one_line_says_so() -> None:
    model = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "placement": "ray"}
    log = io.StringIO()
    async with (
        fake_ray() as ray,
        gateway({"m": model}, ready=[], ray={"address": ray.url, "poll": 0.1}, log=log) as served,
        aiohttp.ClientSession() as http,
    ):
        await served.gateway.fleet.settle()
        ray.garbage = b"<html>Please log in</html>"
        await eventually(lambda: "cannot be asked" in log.getvalue())
        looks = len(ray.asked)
        await eventually(lambda: len(ray.asked) > looks + 1)
        assert "headgate_ray_up 0.0" in await served.metrics()
        async with http.post(f"{served.address}/v1/embeddings", json={"model": "m", "input": "a"}) as answer:
            assert answer.status == 200
        (line,) = [each for each in log.getvalue().splitlines() if "Ray cluster" in each]
        assert line.endswith(
            "the Ray cluster cannot be asked (what answers is not the Jobs API of Ray); replicas that run go on serving"
        )
        ray.garbage = None
        await eventually(lambda: "the Ray cluster answers again" in log.getvalue())
