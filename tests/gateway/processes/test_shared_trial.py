"""One process at a time may try a replica that was ejected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.processes.shared_cells import Cells
from gateway.processes.shared_trial import SharedTrial


@pytest.fixture
def cells() -> Iterator[Cells]:
    made = Cells.create(("a trial",), 2)
    yield made
    made.close()


def trial(cells: Cells, own: int) -> SharedTrial:
    return SharedTrial(cells.row("a trial"), own, cells.lock("a trial"))


def test_one_process_at_a_time_has_the_right(cells: Cells) -> None:
    here, there = trial(cells, 0), trial(cells, 1)
    assert (here.claim(), here.claim(), there.claim()) == (True, False, False)
    there.release()
    assert not there.claim()
    here.release()
    assert there.claim()


def test_that_of_a_process_that_has_ended_is_free(cells: Cells) -> None:
    assert trial(cells, 0).claim()
    cells.clear(0)
    assert trial(cells, 1).claim()
