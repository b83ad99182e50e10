"""One count of what is in flight, and one word on who is ready, over several processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.admission import Admission
from gateway.pools.policies import LeastInFlight
from gateway.pools.pool import Load
from gateway.processes.shared_admission import Counts
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_replica import ChildReplica, ParentPool, ParentReplica

CONNECTIONS = ConnectionPool(Address.parse("unix:/s"), connect_timeout=1.0)
NAMES = ("a", "a answers", "b", "b answers", "running", "waiting", "since", "tokens")


@pytest.fixture
def cells() -> Iterator[Cells]:
    made = Cells.create(NAMES, 2)
    yield made
    made.close()


def served(cells: Cells, name: str, own: int, doubts: list[tuple[str, str]]) -> ChildReplica:
    return ChildReplica(
        name,
        CONNECTIONS,
        in_flight=cells.row(name),
        answers=cells.row(f"{name} answers"),
        own=own,
        doubt=lambda *doubt: doubts.append(doubt),
    )


def led(cells: Cells, told: list[tuple[str, bool, str]]) -> ParentReplica:
    def tell(replica: ParentReplica) -> None:
        told.append((replica.name, replica.ready, replica.reason))

    return ParentReplica("a", CONNECTIONS, in_flight=cells.row("a"), answers=cells.row("a answers"), tell=tell)


def test_in_flight_is_what_all_processes_have_there(cells: Cells) -> None:
    here, there = served(cells, "a", 0, []), served(cells, "a", 1, [])
    here.entered()
    there.entered()
    there.entered()
    assert (here.in_flight, there.in_flight, led(cells, []).in_flight) == (3, 3, 3)
    here.left()
    assert repr(there) == "<Replica 'a' unix:/s [starting; 2 in flight]>"


def test_a_policy_sees_what_other_processes_have_in_flight(cells: Cells) -> None:
    mine = [served(cells, name, 0, []) for name in ("a", "b")]
    elsewhere = served(cells, "a", 1, [])
    for _ in range(3):
        elsewhere.entered()
    policy = LeastInFlight()
    for _ in range(3):
        chosen = policy.pick(mine)
        assert chosen.name == "b"
        assert isinstance(chosen, ChildReplica)
        chosen.entered()


def test_a_child_leaves_a_replica_alone_that_gives_no_answers_and_says_so(cells: Cells) -> None:
    doubts: list[tuple[str, str]] = []
    replica = served(cells, "a", 0, doubts)
    replica.told(ready=True, state="ready", reason="")
    assert doubts == []
    for _ in range(4):
        replica.failed("gone")
    assert (replica.ready, doubts) == (False, [("a", "gone")])
    replica.told(ready=True, state="ready", reason="")
    assert replica.ready


def test_the_parent_tells_what_is_new_and_nothing_else(cells: Cells) -> None:
    told: list[tuple[str, bool, str]] = []
    replica = led(cells, told)
    for _ in range(3):
        replica.set_ready(ready=True, state="ready")
    replica.set_ready(ready=False, state="failing", reason="gone")
    assert told == [("a", True, ""), ("a", False, "gone")]


def test_answers_that_a_child_gets_speak_for_a_replica_whose_probes_fail(cells: Cells) -> None:
    replica, child = led(cells, []), served(cells, "a", 1, [])
    replica.set_ready(ready=True, state="ready")
    for _ in range(5):
        replica.failed("no answer to a probe")
        child.succeeded()
    assert replica.ready
    for _ in range(3):
        replica.failed("no answer to a probe")
    assert not replica.ready


def test_the_parent_knows_whether_a_child_got_an_answer_since_it_looked_last(cells: Cells) -> None:
    replica, child = led(cells, []), served(cells, "a", 1, [])
    assert not replica.answered()
    child.succeeded()
    assert [replica.answered(), replica.answered()] == [True, False]


def test_the_parent_shows_what_its_children_have_to_do_and_tells_them_the_length(cells: Cells) -> None:
    lengths: list[int | None] = []
    pool = ParentPool(
        "m",
        [],
        policy=LeastInFlight(),
        admission=Admission(None, 0),
        tasks=frozenset(),
        counts=Counts(cells.row("running"), cells.row("waiting"), cells.row("since")),
        tokens=cells.row("tokens"),
        tell=lambda pool: lengths.append(pool.max_model_len),
    )
    for name, numbers in {
        "running": (2, 3),
        "waiting": (1, 1),
        "since": (9 * 10**9, 8 * 10**9),
        "tokens": (5, 6),
    }.items():
        cells.row(name)[0], cells.row(name)[1] = numbers
    assert pool.load(10.0) == Load(5, 2, 2.0, 11)
    pool.learned_length(4096)
    assert lengths == [4096]
