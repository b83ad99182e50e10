"""Every gateway that can be had is measured in every round; one that cannot be had is left out, with the reason."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from loadtest.bench.deployment import DeploymentSpec, deployed
from loadtest.bench.environments import Missing
from loadtest.bench.launch import DidNotStart, Server
from loadtest.bench.peer_gateways import Gateway, Peer
from loadtest.bench.peers import SCENARIOS, measure


async def again(log: Callable[[str], None]) -> Gateway:
    """Find a second Headgate."""
    return Gateway("again", "Headgate again", deployed)


async def nowhere(log: Callable[[str], None]) -> Gateway:
    """Find nothing."""
    raise Missing("it is not here; install it")


async def broken(log: Callable[[str], None]) -> Gateway:
    """Find one that does not start."""

    def run(spec: DeploymentSpec, engine: str) -> AbstractAsyncContextManager[Server]:
        raise DidNotStart("it has no license")

    return Gateway("broken", "Broken", run)


async def leaves(log: Callable[[str], None]) -> Gateway:
    """Find one that is gone when it should answer."""

    @asynccontextmanager
    async def run(spec: DeploymentSpec, engine: str) -> AsyncIterator[Server]:
        async with deployed(spec, engine) as running:
            address = running.address
        yield Server(address, running.pid)

    return Gateway("leaves", "Leaves", run)


def test_the_loads_are_those_that_the_page_names() -> None:
    assert [(each.name, each.load.connections, each.load.events, each.pace) for each in SCENARIOS] == [
        ("alone", 1, 0, 0.0),
        ("busy", 32, 0, 0.0),
        ("at_once", 32, 66, 0.0),
        ("paced", 200, 67, 0.01),
    ]
    # None is idle: all connections send without pause.
    assert all(each.load.busy >= each.load.connections for each in SCENARIOS)


@pytest.mark.slow
async def test_headgate_and_its_peers_take_turns() -> None:
    told: list[str] = []
    peers = [Peer("again", again), Peer("nowhere", nowhere), Peer("broken", broken), Peer("leaves", leaves)]
    found = await measure(peers, seconds=0.05, rounds=2, log=told.append)
    assert [(each["name"], each["title"]) for each in found["gateways"]] == [
        ("again", "Headgate again"),
        ("headgate", "**Headgate**"),
    ]
    assert found["left_out"].keys() == {"nowhere", "broken", "leaves"}
    assert found["left_out"]["nowhere"] == "it is not here; install it"
    assert found["left_out"]["broken"] == "it has no license"
    assert found["failed"] == 0
    for gateway in found["gateways"]:
        assert gateway["failed"] == 0
        assert len(gateway["rounds"]) == 2
        assert all(value > 0 and math.isfinite(value) for value in gateway["medians"].values())
        for each in gateway["rounds"]:
            assert all(each[scenario.name]["responses"] > 0 for scenario in SCENARIOS)
            # At its pace a stream takes two thirds of a second, so none of the 200 can have run twice, or at once.
            assert each["paced"]["responses"] == 200
    order = [line.split(":")[0] for line in told if "(round" in line]
    assert order == ["peers again", "peers headgate"] * 2
