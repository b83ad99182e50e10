"""Parent and children find the same rows by the same names, and the dead are taken out of them."""

from __future__ import annotations

import os
from time import monotonic_ns

from gateway.config.schema import Config
from gateway.pools.build import build_registry
from gateway.processes.cell_layout import (
    TICKED_AT,
    AnswerTotals,
    ChildCounting,
    ParentCounting,
    Publisher,
    connection_share,
    forget,
    rows,
)
from gateway.processes.shared_cells import Cells
from tests.kit.waiters import Waiter

REMOTE = {"engine": "remote", "urls": ["http://a", "http://b"]}
CONFIG = Config.model_validate(
    {"gateway": {"processes": 2}, "models": {"free": REMOTE, "tight": REMOTE | {"max_in_flight": 4}}}
)


def test_the_parent_sees_what_a_child_counts_until_the_child_is_forgotten() -> None:
    cells = Cells.create(rows(CONFIG), 2)
    parent = build_registry(CONFIG, {}, ParentCounting(cells))
    mapped = Cells(os.dup(cells.fd), rows(CONFIG), 2)
    child = build_registry(CONFIG, {}, ChildCounting(mapped, 1, lambda *_: None))
    for pool in child.pools:
        assert pool.admission.admit(Waiter())
        pool.tokens_in_flight += 7
        pool.replicas[1].load.entered()
        pool.replicas[0].succeeded()
    Publisher(mapped, 1, child.pools).publish()
    assert [(pool.name, *pool.load(0.0)) for pool in parent.pools] == [("free", 1, 0, 0.0, 7), ("tight", 1, 0, 0.0, 7)]
    assert [[replica.in_flight for replica in pool.replicas] for pool in parent.pools] == [[0, 1], [0, 1]]
    AnswerTotals(cells, parent.replicas).read()
    assert [[replica.answers for replica in pool.replicas] for pool in parent.pools] == [[1, 0], [1, 0]]
    forget(cells, 1)
    assert [pool.load(0.0).running for pool in parent.pools] == [0, 0]
    assert [[replica.in_flight for replica in pool.replicas] for pool in parent.pools] == [[0, 0], [0, 0]]
    cells.close()


def test_the_slots_of_a_pool_are_those_of_all_processes() -> None:
    cells = Cells.create(rows(CONFIG), 2)
    woken: list[tuple[int, str]] = []
    first, second = (
        build_registry(CONFIG, {}, ChildCounting(cells, own, lambda *to: woken.append(to))).find("tight").pool
        for own in range(2)
    )
    for pool in (first, second, first, second):
        assert pool.admission.admit(Waiter())
    waiter = Waiter()
    assert not second.admission.admit(waiter)
    first.admission.release()
    assert woken == [(1, "tight")]
    second.admission.serve()
    assert waiter.slots == 1
    cells.close()


def test_models_that_share_a_pool_share_its_rows() -> None:
    config = Config.model_validate({"gateway": {"processes": 2}, "models": {"base": REMOTE, "adapter": REMOTE}})
    alone = Config.model_validate({"gateway": {"processes": 2}, "models": {"base": REMOTE}})
    assert list(rows(config)) == list(rows(alone))


def test_connections_that_went_to_the_dead_or_came_from_them_are_on_no_way_any_more() -> None:
    cells = Cells.create(rows(CONFIG), 2)
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
