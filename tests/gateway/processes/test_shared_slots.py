"""Several processes share slots and queue: never more than the limit, in order, and nobody waits beside a free slot."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, product
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.errors import Unavailable
from gateway.pools.admission import Admission
from gateway.pools.queue import Ticket
from gateway.pools.virtual_time import TAGS, VirtualTime
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_slots import SharedSlots, SharedTags, SlotRows
from tests.gateway.pools.made import Clock
from tests.kit.waiters import Waiter

SLOTS = ("running", "waiting", "rank", "since", "tokens")
TAG_ROWS = tuple(f"tag {number}" for number in range(TAGS))
NAMES = (*SLOTS, "inside", "changes", *TAG_ROWS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.installed(monkeypatch)


class Node:
    """Several processes' parts of one admission, and the words they say to each other."""

    def __init__(self, processes: int, limit: int | None, max_queue: int, max_tokens: int | None = None) -> None:
        self.max_tokens = max_tokens
        self.cells = Cells.create(NAMES, processes)
        self.limit, self.max_queue = limit, max_queue
        self.said: list[int] = []
        self.rows = SlotRows(*(self.cells.row(name) for name in SLOTS))
        self.parts = [self.born(own) for own in range(processes)]

    def born(self, own: int) -> Admission:
        lock = self.cells.lock("running")
        time = VirtualTime(SharedTags([self.cells.row(name) for name in TAG_ROWS], own))
        return Admission(
            self.limit,
            self.max_queue,
            max_tokens=self.max_tokens,
            new_slots=lambda limit, here: SharedSlots(limit, self.rows, lock, own, self.said.append, here, time),
        )

    def die(self, own: int) -> None:
        """End a process, and take back what it had, as the parent does."""
        self.cells.clear(own)
        self.parts[own] = self.born(own)
        first = self.rows.next_process()
        if first is not None:
            self.said.append(first)

    def hear(self) -> None:
        """Let everyone hear what was said."""
        while self.said:
            self.parts[self.said.pop(0)].serve()


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node(3, limit=2, max_queue=2)
    yield made
    made.cells.close()


def take(part: Admission) -> None:
    assert part.admit(Waiter())


def test_the_limit_is_that_of_all_processes_together(node: Node) -> None:
    take(node.parts[0])
    take(node.parts[1])
    assert not node.parts[2].admit(Waiter())
    assert repr(node.parts[1]) == "<Admission [2 running, 1 waiting; limit 2]>"
    assert node.parts[1].running == 1


def test_the_length_of_the_queue_is_that_of_all_processes_together(node: Node) -> None:
    for part in node.parts[:2]:
        take(part)
    for part in node.parts[1:]:
        assert not part.admit(Waiter())
    with pytest.raises(Unavailable, match="All 2 slots of this model are taken and 2 requests wait already"):
        node.parts[0].admit(Waiter())


def test_a_freed_slot_goes_to_the_longest_waiting_wherever_it_waits(node: Node) -> None:
    take(node.parts[0])
    take(node.parts[0])
    first, second = Waiter(), Waiter()
    node.parts[2].admit(first)
    node.parts[1].admit(second)
    node.parts[0].release(Waiter())
    assert node.said == [2]
    node.hear()
    assert (first.slots, second.slots) == (1, 0)
    node.parts[0].release(Waiter())
    node.hear()
    assert second.slots == 1


def test_nobody_overtakes_who_waits(node: Node) -> None:
    take(node.parts[0])
    take(node.parts[0])
    waiter = Waiter()
    node.parts[1].admit(waiter)
    node.parts[0].release(Waiter())
    assert not node.parts[2].admit(Waiter())
    node.hear()
    assert waiter.slots == 1


def test_who_is_woken_in_vain_passes_the_word_on(node: Node) -> None:
    take(node.parts[0])
    take(node.parts[0])
    first, second = Waiter(), Waiter()
    node.parts[1].admit(first)
    node.parts[2].admit(second)
    node.parts[0].release(Waiter())
    node.parts[1].withdraw(first)
    node.hear()
    assert second.slots == 1


def test_a_limit_that_is_set_lifted_and_set_again_counts_what_runs(node: Node) -> None:
    first, second, _ = node.parts
    for part in (first, second, first):
        part.set_limits(3, max_queue=9)
        take(part)
    waiting = Waiter()
    assert not second.admit(waiting)
    assert second.waiting == 1
    second.set_limits(None, max_queue=9)
    assert (waiting.slots, second.limit, second.running) == (1, None, 2)
    first.serve()
    second.set_limits(4, max_queue=9)
    assert repr(second) == "<Admission [4 running, 0 waiting; limit 4]>"
    late = Waiter()
    assert not second.admit(late)
    first.set_limits(4, max_queue=9)
    first.release(Waiter())
    second.serve()
    assert late.slots == 1


def test_the_slots_of_the_dead_are_free_again(node: Node) -> None:
    for _ in range(2):
        take(node.parts[0])
    waiter = Waiter()
    node.parts[1].admit(waiter)
    node.die(0)
    node.hear()
    assert waiter.slots == 1
    assert sum(node.rows.running) == 1


def test_a_slot_that_nobody_takes_in_turn_is_taken_at_the_second_tick(node: Node) -> None:
    take(node.parts[0])
    take(node.parts[0])
    deaf, waiter = Waiter(), Waiter()
    node.parts[1].admit(deaf)
    node.parts[2].admit(waiter)
    node.parts[0].release(Waiter())
    node.parts[2].tick()
    assert waiter.slots == 0
    node.parts[2].tick()
    assert waiter.slots == 1
    assert sum(node.rows.running) == 2


def test_how_long_the_first_of_all_has_waited(node: Node) -> None:
    assert node.rows.oldest_wait(perf_counter()) == 0.0
    take(node.parts[0])
    take(node.parts[0])
    for part in node.parts[1:]:
        part.admit(Waiter())
    since = node.rows.since[1] / 1e9
    assert node.rows.oldest_wait(since + 2.5) == pytest.approx(2.5)


def test_the_expected_wait_is_that_of_the_whole_queue(clock: Clock) -> None:
    node = Node(2, limit=2, max_queue=100)
    take(node.parts[0])
    take(node.parts[0])
    for _ in range(39):
        node.parts[1].admit(Waiter())
    clock.now += 5.0
    node.parts[0].release(Waiter())
    clock.now += 20.0
    node.parts[0].release(Waiter())
    # A tenth of each gap counts; two processes free slots at that pace; forty requests wait, with the new one.
    assert node.parts[0].expected_wait() == pytest.approx((0.5 * 0.9 + 2.0) * 40 / 2, rel=0.01)
    node.cells.close()


def test_time_without_contention_does_not_make_the_expected_wait_longer(clock: Clock) -> None:
    node = Node(2, limit=2, max_queue=100)
    for _ in range(100):
        take(node.parts[0])
        take(node.parts[1])
        clock.now += 4.0
        # One of the two sees that all slots are taken.
        node.parts[1].release(Waiter())
        node.parts[0].release(Waiter())
        clock.now += 3600.0
    assert node.parts[1].expected_wait() == pytest.approx(4.0 / 2, rel=0.01)
    assert node.parts[0].expected_wait() == 1.0
    node.cells.close()


def queued(part: Admission, tenant: str = "", **said: Any) -> Waiter:
    waiter = Waiter(ticket=Ticket(tenant, **said))
    assert not part.admit(waiter)
    return waiter


def served_next(node: Node, waiting: list[Waiter]) -> Waiter:
    """Free one slot, in any process that runs something, and give who gets it."""
    next(part for part in node.parts if part.running).release(Waiter())
    node.hear()
    (served,) = [waiter for waiter in waiting if waiter.slots]
    waiting.remove(served)
    return served


def test_a_tenant_gets_one_share_in_however_many_processes_it_asks() -> None:
    node = Node(3, limit=3, max_queue=1_000)
    for part in node.parts:
        take(part)
    waiting = [queued(part, "heavy", tokens=10) for part in node.parts for _ in range(30)]
    waiting += [queued(node.parts[1], "light", tokens=10) for _ in range(30)]
    got = Counter(served_next(node, waiting).ticket.tenant for _ in range(40))
    assert abs(got["heavy"] - got["light"]) <= 1
    node.cells.close()


def test_a_tenant_is_served_first_come_first_served_over_all_processes() -> None:
    node = Node(3, limit=3, max_queue=1_000)
    for part in node.parts:
        take(part)
    order = [2, 0, 1, 1, 2, 0, 0, 0, 1, 2]
    waiting = [queued(node.parts[own], tokens=7) for own in order]
    came = list(waiting)
    assert [served_next(node, waiting) for _ in order] == came
    node.cells.close()


def test_a_class_goes_first_over_all_processes() -> None:
    node = Node(3, limit=3, max_queue=1_000)
    for part in node.parts:
        take(part)
    waiting = [queued(node.parts[own], priority=priority) for own, priority in ((0, 1), (1, 0), (2, -1))]
    assert [served_next(node, waiting).ticket.priority for _ in range(3)] == [-1, 0, 1]
    node.cells.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.integers(1, 500)), min_size=30, max_size=60))
def test_over_any_interval_two_tenants_differ_by_a_request_of_each_at_most(
    requests: list[tuple[int, str, int]],
) -> None:
    node = Node(3, limit=3, max_queue=1_000)
    for part in node.parts:
        take(part)
    waiting = [queued(node.parts[own], tenant, tokens=tokens) for own, tenant, tokens in requests]
    largest = {each: max(tokens for _, tenant, tokens in requests if tenant == each) for _, each, _ in requests}
    served: list[Counter[str]] = [Counter()]
    while {waiter.ticket.tenant for waiter in waiting} == set(largest):
        ticket = served_next(node, waiting).ticket
        served.append(served[-1] + Counter({ticket.tenant: ticket.tokens}))
        assert sum(part.running for part in node.parts) == 3, "a slot is free though requests wait"
    for one, other in product(largest, repeat=2):
        ahead = [sums[one] - sums[other] for sums in served]
        most = max(now - least for now, least in zip(ahead, accumulate(ahead, min), strict=True))
        assert most <= largest[one] + largest[other]
    node.cells.close()


def test_the_limit_of_tokens_is_that_of_all_processes_together() -> None:
    node = Node(3, limit=None, max_queue=10, max_tokens=100)
    running = [Waiter(ticket=Ticket(tokens=50)) for _ in range(2)]
    assert node.parts[0].admit(running[0])
    assert node.parts[1].admit(running[1])
    waiting = queued(node.parts[2], tokens=60)
    node.parts[0].release(running[0])
    node.hear()
    assert waiting.slots == 0
    node.parts[1].release(running[1])
    node.hear()
    assert waiting.slots == 1
    assert sum(node.rows.tokens) == 60
    node.cells.close()


def test_the_tokens_of_the_dead_are_free_again() -> None:
    node = Node(2, limit=None, max_queue=10, max_tokens=100)
    assert node.parts[0].admit(Waiter(ticket=Ticket(tokens=100)))
    waiting = queued(node.parts[1], tokens=60)
    node.die(0)
    node.hear()
    assert waiting.slots == 1
    node.cells.close()


def test_those_that_one_process_holds_do_not_keep_the_others_waiting(node: Node) -> None:
    held, open_one, _ = node.parts
    held.set_open(is_open=False)
    first = queued(held)
    running = [Waiter(), Waiter()]
    # Each joins the queue, and gets its slot before it has to wait.
    assert not any(open_one.admit(waiter) for waiter in running)
    assert [waiter.slots for waiter in running] == [1, 1]
    waiting = queued(open_one)
    open_one.release(Waiter())
    node.hear()
    assert (first.slots, waiting.slots) == (0, 1)
    held.set_open(is_open=True)
    open_one.release(Waiter())
    node.hear()
    assert first.slots == 1


class AnyOrder(RuleBasedStateMachine):
    """Requests come, end and leave, words arrive late, processes die: the rules hold all the time."""

    processes = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        self.node = Node(3, limit=5, max_queue=4)
        self.held = [0, 0, 0]
        self.queued: list[list[Waiter]] = [[], [], []]

    def teardown(self) -> None:
        self.node.cells.close()

    def settle(self) -> None:
        for own, queued in enumerate(self.queued):
            for waiter in [each for each in queued if each.slots]:
                queued.remove(waiter)
                self.held[own] += waiter.slots

    def let_go(self, own: int) -> None:
        """Forget the one that was put out of a full queue, so that another tenant's request found a place."""
        full = sum(map(len, self.queued)) > 4
        displaced = [each for each in self.queued[own] if each.errors]
        assert len(displaced) == full
        for waiter in displaced:
            self.queued[own].remove(waiter)
            assert [each.code for each in waiter.errors] == ["queue_full"]

    @rule(own=processes, tenant=st.sampled_from("ab"), priority=st.integers(0, 1))
    def come(self, own: int, tenant: str, priority: int) -> None:
        waiter = Waiter(ticket=Ticket(tenant, priority, 30_000))
        try:
            admitted = self.node.parts[own].admit(waiter)
        except Unavailable:
            assert sum(map(len, self.queued)) >= 4
            return
        if admitted:
            self.held[own] += 1
        else:
            self.queued[own].append(waiter)
            self.let_go(own)
        self.settle()

    @rule(own=processes)
    def end(self, own: int) -> None:
        if self.held[own]:
            self.held[own] -= 1
            self.node.parts[own].release(Waiter())
            self.settle()

    @rule(own=processes, is_open=st.booleans())
    def open_or_close(self, own: int, *, is_open: bool) -> None:
        self.node.parts[own].set_open(is_open=is_open)
        self.settle()

    @rule(own=processes, data=st.data())
    def leave(self, own: int, data: st.DataObject) -> None:
        if self.queued[own]:
            waiter = self.queued[own].pop(data.draw(st.integers(0, len(self.queued[own]) - 1)))
            self.node.parts[own].withdraw(waiter)

    @rule(own=processes)
    def die(self, own: int) -> None:
        self.node.said[:] = [each for each in self.node.said if each != own]
        self.held[own], self.queued[own] = 0, []
        self.node.die(own)

    @rule()
    def hear(self) -> None:
        self.node.hear()
        self.settle()
        if any(queued and part.open for queued, part in zip(self.queued, self.node.parts, strict=True)):
            assert sum(self.held) == 5

    @rule(own=processes)
    def tick(self, own: int) -> None:
        self.node.parts[own].tick()
        self.settle()

    @invariant()
    def counts_are_true(self) -> None:
        assert list(self.node.rows.running) == self.held
        assert list(self.node.rows.waiting) == [len(each) for each in self.queued]
        assert sum(self.node.rows.running) <= 5


test_in_any_order = AnyOrder.TestCase


def test_wrong_cells_of_this_process_are_corrected_without_the_others() -> None:
    node = Node(2, limit=4, max_queue=2, max_tokens=100)
    here, there = node.parts
    waiters = [Waiter() for _ in range(3)]
    assert here.admit(waiters[0])
    assert there.admit(waiters[1])
    node.rows.running[0] = node.rows.tokens[0] = 7
    node.rows.waiting[0] = 9
    counts = here.counted_here()
    assert (counts.running, counts.slots, counts.slot_tokens, counts.charged, counts.shown) == (1, 7, 7, 1, 9)
    here.correct({waiters[0]}, ())
    assert [list(row) for row in (node.rows.running, node.rows.tokens, node.rows.waiting)] == [[1, 1], [1, 1], [0, 0]]
    here.release(waiters[0])
    assert list(node.rows.running) == [0, 1]
    node.cells.close()


class Inside:
    """How many slots each process holds, read as one: a reading during which any of the numbers changed is none."""

    def __init__(self, cells: Cells, own: int) -> None:
        self._numbers, self._changes, self._own = cells.row("inside"), cells.row("changes"), own

    def put(self, number: int) -> None:
        """Say how many this process holds. The count of changes is odd while it is being said."""
        self._changes[self._own] += 1
        self._numbers[self._own] = number
        self._changes[self._own] += 1

    def sum(self) -> int:
        """Give how many all processes held at one moment; 0 if the numbers did not stand still."""
        before = list(self._changes)
        number = sum(self._numbers)
        stood_still = list(self._changes) == before and not any(change % 2 for change in before)
        return number if stood_still else 0


def hammer(cells: Cells, own: int, limit: int, most: int, times: int) -> None:
    """Hold up to ``most`` slots, taken and given back as fast as can be; exit with how often too many were held."""
    shared, inside = SlotRows(*(cells.row(name) for name in SLOTS)), Inside(cells, own)
    slots = SharedSlots(limit, shared, cells.lock("running"), own, lambda _: None)
    part = Admission(limit, 0, new_slots=lambda *_: slots)
    held = too_many = 0
    for _ in range(times):
        if held < most:
            with contextlib.suppress(Unavailable):
                assert part.admit(Waiter())
                held += 1
                inside.put(held)
                too_many += inside.sum() > limit
                continue
        if held:
            held -= 1
            inside.put(held)
            part.release(Waiter())
    inside.put(0)
    for _ in range(held):
        part.release(Waiter())
    os._exit(min(too_many, 100))


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 1), (6, 3), (12, 4)])
def test_processes_that_run_at_the_same_time_never_exceed_the_limit(limit: int, most: int) -> None:
    cells = Cells.create(NAMES, 4)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=hammer, args=(cells, own, limit, most, 20_000)) for own in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert sum(cells.row("running")) == 0
    cells.close()
