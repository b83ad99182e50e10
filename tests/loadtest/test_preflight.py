"""What is wrong with every request is said once, before the test, with what to do about it."""

from __future__ import annotations

import hashlib

import pytest

from loadtest import preflight, workload
from loadtest.load import Load
from loadtest.preflight import CannotBegin
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.faults import Faults
from loadtest.workload import Request
from tests.kit.gateways import gateway, remote

CHAT = workload.chat("sim", "hello", 2, stream=True)


async def refusal(url: str, *requests: Request, key: str | None = None) -> str:
    load = Load(url, key=key)
    with pytest.raises(CannotBegin) as caught:
        await preflight.check(load, requests, key=key)
    load.close()
    return str(caught.value)


async def test_a_server_that_answers_may_be_tested() -> None:
    async with SimulatedEngine() as engine:
        load = Load(engine.address)
        await preflight.check(load, [CHAT, workload.classification("sim", "hello", 1, stream=False)])
        load.close()
        assert [request.path for request in engine.requests] == ["/v1/chat/completions", "/classify"]


async def test_nobody_listens() -> None:
    said = await refusal("http://127.0.0.1:1", CHAT)
    assert said.startswith("http://127.0.0.1:1 cannot be reached: The engine refused the connection: Connect")


async def test_a_model_that_is_not_there_is_answered_with_those_that_are() -> None:
    async with SimulatedEngine("m") as engine:
        said = await refusal(engine.address, CHAT)
        assert said.startswith(
            f"{engine.address} has no model 'sim' at /v1/chat/completions (status 404: The model `sim`"
        )
        assert said.endswith("; it has m")


async def test_keys() -> None:
    digest = hashlib.sha256(b"sk-right").hexdigest()
    async with (
        SimulatedEngine() as engine,
        gateway({"sim": remote(engine.address)}, keys=[{"id": "a", "sha256": digest}]) as running,
    ):
        assert "wants an API key (status 401" in (said := await refusal(running.address, CHAT))
        assert said.endswith("name its variable with --key-env NAME")
        assert "refuses this API key (status 401" in await refusal(running.address, CHAT, key="sk-wrong")
        load = Load(running.address, key="sk-right")
        await preflight.check(load, [CHAT], key="sk-right")
        load.close()


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(status=500), "answers the first request, /v1/chat/completions of 'sim', with status 500"),
        (Faults(error_after=0), "answers /v1/chat/completions of 'sim' with an error within the stream: "),
    ],
)
async def test_any_other_failure_says_what_came(faults: Faults, message: str) -> None:
    async with SimulatedEngine(faults=faults) as engine:
        assert message in await refusal(engine.address, CHAT)
