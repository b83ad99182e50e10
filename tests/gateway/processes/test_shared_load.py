"""One count of what is in flight at a replica, over several processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.policies.least_in_flight import LeastInFlight
from gateway.pools.replica import Replica
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_load import SharedLoad
from tests.gateway.pools.made import Request

CONNECTIONS = ConnectionPool(Address.parse("unix:/s"), connect_timeout=1.0)


@pytest.fixture
def cells() -> Iterator[Cells]:
    made = Cells.create(("a", "b"), 2)
    yield made
    made.close()


def replica(cells: Cells, name: str, own: int) -> Replica:
    return Replica(name, CONNECTIONS, load=SharedLoad(cells.row(name), own))


def test_in_flight_is_what_all_processes_have_there(cells: Cells) -> None:
    here, there = replica(cells, "a", 0), replica(cells, "a", 1)
    here.load.entered()
    there.load.entered()
    there.load.entered()
    assert (here.in_flight, there.in_flight) == (3, 3)
    here.load.left()
    assert repr(there) == "<Replica 'a' unix:/s [starting; 2 in flight]>"


def test_a_policy_sees_what_other_processes_have_in_flight(cells: Cells) -> None:
    mine = [replica(cells, name, 0) for name in ("a", "b")]
    elsewhere = replica(cells, "a", 1)
    for _ in range(3):
        elsewhere.load.entered()
    policy = LeastInFlight()
    for _ in range(3):
        chosen = policy.pick(mine, Request())
        assert chosen.name == "b"
        chosen.load.entered()


def test_a_wrong_count_of_this_process_is_corrected_without_the_others(cells: Cells) -> None:
    here, there = replica(cells, "a", 0), replica(cells, "a", 1)
    there.load.entered()
    here.load.entered()
    assert here.load.here == 1
    here.load.correct(3)
    assert (here.load.here, there.load.here, there.in_flight) == (3, 1, 4)
