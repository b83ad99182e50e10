"""Parent and children find the same rows by the same names, and the dead are taken out of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic_ns

from gateway.config.schema import Config
from gateway.pools.build import RegistryBuilder
from gateway.pools.registry import Registry
from gateway.processes.cell_layout import (
    TICKED_AT,
    AnswerTotals,
    ChildCounting,
    ParentCounting,
    Publisher,
    connection_rows,
    connection_share,
    forget,
)
from gateway.processes.shared_cells import Cells
from tests.kit.waiters import Waiter

REMOTE = {"engine": "remote", "urls": ["http://a", "http://b"], "hold": 0.0}
CONFIG = Config.model_validate(
    {"gateway": {"processes": 2}, "models": {"free": REMOTE, "tight": REMOTE | {"max_in_flight": 4}}}
)


class Node:
    """A parent and its two children, as far as counting goes."""

    def __init__(self) -> None:
        self.cells = Cells.create(connection_rows(2), 2)
        self.parent = RegistryBuilder(ParentCounting(self.cells, self.know))
        self.mapped = Cells(os.dup(self.cells.fd), self.cells.names, 2)
        self.woken: list[tuple[int, str]] = []

    def know(self, names: Sequence[str]) -> None:
        self.mapped.know(names)

    def child(self, own: int, config: Config) -> Registry:
        counting = ChildCounting(self.mapped, own, lambda *to: self.woken.append(to))
        return RegistryBuilder(counting).follow(config, self.parent.layout)


def test_the_parent_sees_what_a_child_counts_until_the_child_is_forgotten() -> None:
    node = Node()
    parent, child = node.parent.build(CONFIG), node.child(1, CONFIG)
    for pool in child.pools:
        assert pool.admission.admit(Waiter())
        pool.tokens_in_flight += 7
        pool.replicas[1].load.entered()
        pool.replicas[0].succeeded()
    publisher = Publisher(node.mapped, 1)
    publisher.set_pools(child.pools)
    publisher.publish()
    assert [(pool.name, *pool.load(0.0)) for pool in parent.pools] == [("free", 1, 0, 0.0, 7), ("tight", 1, 0, 0.0, 7)]
    assert [[replica.in_flight for replica in pool.replicas] for pool in parent.pools] == [[0, 1], [0, 1]]
    totals = AnswerTotals(node.cells)
    totals.set_replicas(parent.replicas)
    totals.read()
    assert [[replica.answers for replica in pool.replicas] for pool in parent.pools] == [[1, 0], [1, 0]]
    forget(node.cells, 1)
    assert [pool.load(0.0).running for pool in parent.pools] == [0, 0]
    assert [[replica.in_flight for replica in pool.replicas] for pool in parent.pools] == [[0, 0], [0, 0]]


def test_the_slots_of_a_pool_are_those_of_all_processes() -> None:
    node = Node()
    node.parent.build(CONFIG)
    first, second = (node.child(own, CONFIG).find("tight").pool for own in range(2))
    for pool in (first, second, first, second):
        assert pool.admission.admit(Waiter())
    waiter = Waiter()
    assert not second.admission.admit(waiter)
    first.admission.release(Waiter())
    assert node.woken == [(1, "tight")]
    second.admission.serve()
    assert waiter.slots == 1


def test_what_comes_later_is_counted_together_too() -> None:
    node = Node()
    node.parent.build(CONFIG)
    more = {f"m{number}": REMOTE | {"urls": [f"http://a{number}"]} for number in range(300)}
    grown = Config.model_validate({"gateway": {"processes": 2}, "models": more})
    parent = node.parent.build(grown)
    children = [node.child(own, grown) for own in range(2)]
    for child in children:
        child.find("m299").pool.replicas[0].load.entered()
    assert parent.find("m299").pool.replicas[0].in_flight == 2
    assert parent.find("m298").pool.replicas[0].in_flight == 0


def test_a_replica_that_comes_again_finds_the_row_that_it_had() -> None:
    node = Node()
    node.parent.build(CONFIG)
    before = len(node.cells.names)
    without = Config.model_validate({"gateway": {"processes": 2}, "models": {"tight": REMOTE | {"max_in_flight": 4}}})
    for config in (without, CONFIG):
        node.parent.build(config)
    assert len(node.cells.names) == before


def test_models_that_share_a_pool_share_its_rows() -> None:
    node = Node()
    node.parent.build(Config.model_validate({"models": {"base": REMOTE, "adapter": REMOTE}}))
    assert not any(name.startswith("adapter") for name in node.cells.names)


def test_connections_that_went_to_the_dead_or_came_from_them_are_on_no_way_any_more() -> None:
    cells = Cells.create(connection_rows(2), 2)
    first, second = connection_share(cells, 0), connection_share(cells, 1)
    first.handed(1)
    second.handed(0)
    first.received()
    first.entered()
    forget(cells, 1)
    cells.row(TICKED_AT)[1] = monotonic_ns()
    # The first holds one and nothing is under way, so the next one goes to the other.
    assert (first.choose(), second.choose()) == (1, 1)
    second.entered()
    assert (first.choose(), second.choose()) == (0, 1)
    cells.close()
