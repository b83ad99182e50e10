"""A share of the requests for a model is answered by its canary, and a session by one of the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.api.canary import chosen
from gateway.config.canary import CanaryTable
from gateway.core.context import RequestContext, RequestHead
from gateway.pools.registry import Registry
from loadtest.simulator import SimulatedEngine
from tests.gateway.exchange.asking import answer_to, ask
from tests.gateway.pools.made import model, replica
from tests.kit.gateways import RunningGateway, gateway, remote

STABLE, NEW = model("m", replica("a")), model("m-2", replica("b"))
REGISTRY = Registry([STABLE, NEW])


def name_for(weight: float, body: bytes = b"{}", **headers: str) -> str:
    head = RequestHead("", headers={name.replace("_", "-").encode(): value.encode() for name, value in headers.items()})
    table = CanaryTable(model="m-2", weight=weight)
    return chosen(RequestContext(head, body=body), REGISTRY, STABLE, table).name


def test_the_canary_gets_its_share() -> None:
    counts = Counter(name_for(20.0) for _ in range(3000))
    assert 450 < counts["m-2"] < 750
    assert {name_for(0.0) for _ in range(100)} == {"m"}
    assert {name_for(100.0) for _ in range(100)} == {"m-2"}


def test_a_session_stays_with_its_model_and_with_a_canary_that_grows() -> None:
    sessions = [str(number) for number in range(1000)]
    few = {session for session in sessions if name_for(5.0, x_session_id=session) == "m-2"}
    more = {session for session in sessions if name_for(50.0, x_session_id=session) == "m-2"}
    assert 20 < len(few) < 90
    assert few < more
    assert few == {session for session in sessions if name_for(5.0, x_session_id=session) == "m-2"}


@pytest.mark.parametrize("body", [b'{"user": "ann"}', b'{"prompt_cache_key": "k", "user": "x"}'])
def test_a_session_may_be_named_in_the_body(body: bytes) -> None:
    assert len({name_for(50.0, body) for _ in range(50)}) == 1


@asynccontextmanager
async def serving(folder: Path, weight: float, **settings: Any) -> AsyncIterator[RunningGateway]:
    async with SimulatedEngine("m", uds=folder / "a") as one, SimulatedEngine("m-2", uds=folder / "b") as two:
        models = {
            "m": remote(one.address, canary={"model": "m-2", "weight": weight}),
            "m-2": remote(two.address),
        }
        async with gateway(models, **settings) as running:
            yield running


async def test_the_response_says_which_model_it_is_from_and_metrics_count_that(tmp_path: Path) -> None:
    async with serving(tmp_path, 100) as running:
        answer = await answer_to(running, ask())
        assert (answer.json["model"], answer.header("x-headgate-model")) == ("m-2", "m-2")
        counted = [
            line for line in (await running.metrics()).splitlines() if line.startswith("headgate_requests_total{")
        ]
        (line,) = [line for line in counted if not line.endswith(" 0.0")]
        assert 'model="m-2"' in line
        assert (await answer_to(running, ask(model="m-2"))).header("x-headgate-model") is None


async def test_without_its_turn_the_canary_is_not_asked(tmp_path: Path) -> None:
    async with serving(tmp_path, 0) as running:
        answer = await answer_to(running, ask())
        assert (answer.json["model"], answer.header("x-headgate-model")) == ("m", "m")
