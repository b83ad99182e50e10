"""Parent and children find the same rows by the same names, and the dead are taken out of them."""

from __future__ import annotations

import os
from time import monotonic_ns

from gateway.config.schema import Config
from gateway.pools.build import registry_of
from gateway.processes.cell_layout import TICKED_AT, Publisher, child_parts, forget, parent_parts, rows, share_of
from gateway.processes.shared_cells import Cells
from tests.kit.waiters import Waiter

REMOTE = {"engine": "remote", "urls": ["http://a", "http://b"]}
CONFIG = Config.model_validate(
    {"gateway": {"processes": 2}, "models": {"free": REMOTE, "tight": REMOTE | {"max_in_flight": 4}}}
)


def test_the_parent_sees_what_a_child_counts_until_the_child_is_forgotten() -> None:
    cells = Cells.create(rows(CONFIG), 2)
    parent = registry_of(CONFIG, {}, parent_parts(cells, lambda _: None, lambda _: None))
    mapped = Cells(os.dup(cells.fd), rows(CONFIG), 2)
    child = registry_of(CONFIG, {}, child_parts(mapped, 1, lambda *_: None, lambda *_: None))
    for pool in child:
        assert pool.admission.admit(Waiter())
        pool.tokens_in_flight += 7
        pool.replicas[1].entered()
    Publisher(mapped, 1, list(child)).publish()
    assert [(pool.model, *pool.load(0.0)) for pool in parent] == [("free", 1, 0, 0.0, 7), ("tight", 1, 0, 0.0, 7)]
    assert [[replica.in_flight for replica in pool.replicas] for pool in parent] == [[0, 1], [0, 1]]
    forget(cells, 1)
    assert [pool.load(0.0).running for pool in parent] == [0, 0]
    assert [[replica.in_flight for replica in pool.replicas] for pool in parent] == [[0, 0], [0, 0]]
    cells.close()


def test_connections_that_went_to_the_dead_or_came_from_them_are_on_no_way_any_more() -> None:
    cells = Cells.create(rows(CONFIG), 2)
    first, second = share_of(cells, 0), share_of(cells, 1)
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
