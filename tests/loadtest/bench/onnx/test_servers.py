"""Each server answers for the model while its block lasts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtest.bench.onnx import servers
from loadtest.bench.onnx.subject import Subject
from loadtest.http_client import HttpClient


@pytest.mark.slow
async def test_the_engine_and_the_gateway_before_it_compute_the_same(subject: Subject) -> None:
    request = subject.request(["good cat"])
    async with servers.engine(subject) as engine, servers.gateway(engine) as gateway:
        vectors = []
        for server in (engine, gateway):
            async with HttpClient(server.address) as client:
                response = await client.post(request.path, request.body)
            assert response.status == 200
            vectors.append(response.text.partition('"embedding":')[2])
        assert engine.resident_bytes > 10_000_000
    assert vectors[0] == vectors[1] != ""
    assert engine.resident_bytes == gateway.resident_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["embed", "classify"])
async def test_the_naive_server_runs_the_same_model(task: str, subject_of: Callable[[str], Subject]) -> None:
    subject = subject_of(task)
    request = subject.request(["good"])
    async with servers.naive_server(subject) as server, HttpClient(server.address) as client:
        assert (await client.post(request.path, request.body)).status == 200
