"""What a key has used is one number for all processes, whoever of them dies, and however limits change."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import suppress
from multiprocessing.synchronize import Event
from typing import Any

import pytest

from gateway.api.keyring import keyring_of
from gateway.config.gateway import GatewayConfig
from gateway.core.errors import LimitExceeded
from gateway.core.keys import Key
from gateway.core.limits import KeyLimits, Reservation
from gateway.processes.cell_layout import connection_rows, forget
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_usage import SharedUsage, make_usage_rows

NOW = 1_000_000_000_000
PROCESSES = 4


def config_of(limits: dict[str, int], group: dict[str, int] | None = None) -> GatewayConfig:
    """Configure the key ``alice``, in a group that has limits too if there is one."""
    key = {"id": "alice", "sha256": "0" * 64, "limits": limits}
    groups = {} if group is None else {"team": {"limits": group}}
    return GatewayConfig.model_validate({"keys": [key | ({"group": "team"} if groups else {})], "groups": groups})


class Node:
    """The parent's cells, and what each process makes of a configuration."""

    def __init__(self) -> None:
        self.cells = Cells.create(connection_rows(PROCESSES), PROCESSES)
        self.mapped = Cells(os.dup(self.cells.fd), self.cells.names, PROCESSES)

    def process(self, own: int, config: GatewayConfig) -> KeyLimits:
        self.mapped.know(make_usage_rows(self.cells, config))
        return limits_of(self.mapped, own, config)


def limits_of(cells: Cells, own: int, config: GatewayConfig) -> KeyLimits:
    key: Key = next(iter(keyring_of(config, SharedUsage(cells, own))))
    assert key.limits is not None
    return key.limits


def used(limits: KeyLimits) -> dict[str, int]:
    return {rate.name: rate.window.used(NOW) for quota in limits.quotas for rate in quota.rates}


def test_what_one_process_admits_counts_in_all() -> None:
    node, config = Node(), config_of({"requests_per_minute": 3, "tokens_per_day": 100}, {"max_in_flight": 2})
    first, second = node.process(0, config), node.process(1, config)
    reservation, *_ = first.admit(10, 20, NOW)
    assert used(second) == {"requests_per_minute": 1, "tokens_per_day": 30}
    second.admit(10, 20, NOW)
    with pytest.raises(LimitExceeded, match="group 'team' on requests at once: Limit 2, Used 2"):
        first.admit(10, 20, NOW)
    first.settle(reservation, 12, NOW)
    assert used(second) == {"requests_per_minute": 2, "tokens_per_day": 42}
    first.admit(10, 20, NOW)
    with pytest.raises(LimitExceeded, match="key 'alice' on requests per minute"):
        second.admit(10, 20, NOW)


def test_a_process_that_dies_loses_only_what_it_held() -> None:
    node, config = Node(), config_of({"requests_per_minute": 3, "max_in_flight": 2})
    first, second = node.process(0, config), node.process(1, config)
    first.admit(0, 0, NOW)
    second.admit(0, 0, NOW)
    forget(node.cells, 1)
    assert used(first) == {"requests_per_minute": 2}
    assert first.quotas[0].in_flight == 1


@pytest.mark.parametrize("changed", [{"requests_per_minute": 10}, {"requests_per_minute": 10, "tokens_per_minute": 5}])
def test_a_reload_keeps_the_counts(changed: dict[str, int]) -> None:
    node = Node()
    node.process(0, config_of({"requests_per_minute": 3})).admit(0, 0, NOW)
    node.process(0, config_of({"max_in_flight": 1}))
    assert used(node.process(1, config_of(changed)))["requests_per_minute"] == 1


def test_a_key_that_does_not_change_needs_no_more_rows() -> None:
    cells, config = Cells.create((), 2), config_of({"requests_per_minute": 3, "max_in_flight": 1}, {})
    assert len(make_usage_rows(cells, config)) == 6
    assert make_usage_rows(cells, config) == []
    assert repr(SharedUsage(cells, 0)) == "<SharedUsage in <Cells [6 rows of 2]>>"


def ask_for_ever(cells: Cells, own: int, config: GatewayConfig, started: Event) -> None:
    """Ask as fast as can be, until killed."""
    limits = limits_of(cells, own, config)
    while True:
        with suppress(LimitExceeded):
            limits.settle(limits.admit(1, 9, NOW)[0], 5, NOW)
            started.set()


def test_a_process_that_is_killed_while_it_counts_locks_nobody_out() -> None:
    fork = multiprocessing.get_context("fork")
    for _ in range(20):
        node, config = Node(), config_of({"requests_per_day": 10**6, "max_in_flight": 3})
        limits, started = node.process(0, config), fork.Event()
        killed = fork.Process(target=ask_for_ever, args=(node.mapped, 1, config, started))
        killed.start()
        started.wait()
        killed.kill()
        before = used(limits)["requests_per_day"]
        killed.join()
        forget(node.cells, 1)
        for _ in range(10):
            limits.settle(limits.admit(1, 9, NOW)[0], 5, NOW)
        assert used(limits)["requests_per_day"] >= before + 10
        assert limits.quotas[0].in_flight == 0


def ask(cells: Cells, own: int, config: GatewayConfig, times: int, results: Any) -> None:
    """Ask as fast as can be, settle all but the last that was admitted, and tell how many those were."""
    limits, admitted = limits_of(cells, own, config), 0
    held: list[Reservation] = []
    for _ in range(times):
        with suppress(LimitExceeded):
            held.append(limits.admit(1, 9, NOW)[0])
            admitted += 1
        if len(held) > 1:
            limits.settle(held.pop(), 5, NOW)
    results.put(admitted)


def test_processes_that_ask_at_the_same_time_get_exactly_the_limit() -> None:
    node, config = Node(), config_of({"requests_per_day": 5000}, {"tokens_per_day": 10**6, "max_in_flight": 100})
    parent = node.process(0, config)
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    processes = [fork.Process(target=ask, args=(node.mapped, own, config, 3000, results)) for own in range(PROCESSES)]
    for process in processes:
        process.start()
    admitted = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert sum(admitted) == 5000
    # Each process that got any has one left that is not settled, whose reservation is 10.
    held = sum(each > 0 for each in admitted)
    assert used(parent) == {"requests_per_day": 5000, "tokens_per_day": 5 * (5000 - held) + 10 * held}
    assert parent.quotas[1].in_flight == held
