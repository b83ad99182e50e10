"""Those who wait are served by class, fairly among tenants in tokens, and in the order in which they came."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pools.queue import CLASS_STEP, LOWEST_CLASS, FairQueue, Ticket
from gateway.pools.virtual_time import VirtualTime
from tests.kit.waiters import Waiter

SIZES = st.integers(1, 1_000)


class Line:
    """A queue, and whose request is served when."""

    def __init__(self, time: VirtualTime | None = None) -> None:
        self.queue = FairQueue(time)
        self.came = 0

    def come(self, tenant: str = "", tokens: int = 1, priority: int = 0) -> Waiter:
        waiter = Waiter(ticket=Ticket(tenant, priority, tokens))
        self.queue.push(waiter, waiter.ticket, float(self.came))
        self.came += 1
        return waiter

    def serve(self) -> Ticket:
        ticket = self.queue.first()
        waiter = self.queue.pop()
        assert isinstance(waiter, Waiter)
        assert waiter.ticket == ticket
        return ticket


@pytest.fixture
def line() -> Line:
    return Line()


def test_one_tenant_is_served_first_come_first_served(line: Line) -> None:
    waiters = [line.come(tokens=tokens) for tokens in (500, 1, 90)]
    assert line.queue.length == 3
    assert line.queue.head() == (0, 0)
    assert [line.queue.pop() for _ in range(3)] == waiters
    assert (line.queue.length, line.queue.head()) == (0, (0, 0))


def test_tenants_take_turns_however_many_requests_one_has(line: Line) -> None:
    for _ in range(50):
        line.come("many", 10)
    for _ in range(3):
        line.come("few", 10)
    assert [line.serve().tenant for _ in range(6)] == ["many", "few"] * 3


def test_tenants_get_equal_tokens_and_not_equal_numbers_of_requests(line: Line) -> None:
    for _ in range(20):
        line.come("large", 300)
        line.come("small", 100)
    served = Counter[str]()
    for _ in range(20):
        ticket = line.serve()
        served[ticket.tenant] += ticket.tokens
    assert served == {"large": 1_500, "small": 1_500}


def test_one_that_leaves_is_passed_over_leaves_once_and_is_not_charged(line: Line) -> None:
    first, second, third = line.come("a", 1_000), line.come("a", 1_000), line.come("b", 10)
    assert line.queue.discard(first)
    assert not line.queue.discard(first)
    assert repr(line.queue) == "<FairQueue [2 waiting, 2 tenants]>"
    assert line.queue.head() == (0, 1_000_000_000)
    assert [line.queue.pop(), line.queue.pop()] == [second, third]


def test_a_higher_class_is_served_first(line: Line) -> None:
    line.come("a", priority=1)
    line.come("b", priority=0)
    line.come("c", priority=-7)
    assert [line.serve().tenant for _ in range(3)] == ["c", "b", "a"]


def test_a_lower_class_gets_one_request_for_each_step_of_a_higher_one(line: Line) -> None:
    size = CLASS_STEP // 4
    for _ in range(3):
        line.come("low", size, priority=1)
    served = []
    for _ in range(18):
        # There is always more of the higher class.
        line.come("high", size)
        line.come("high", size)
        served.append(line.serve().tenant)
    assert [at for at, tenant in enumerate(served) if tenant == "low"] == [4, 8, 12]


def test_a_priority_of_any_size_is_the_lowest_or_highest_class(line: Line) -> None:
    line.come("a", priority=10**30)
    assert line.queue.head()[0] == CLASS_STEP * LOWEST_CLASS
    line.come("b", priority=-(10**30))
    assert line.queue.head()[0] == -CLASS_STEP * LOWEST_CLASS


def test_a_tenant_that_is_served_elsewhere_steps_back_here() -> None:
    time = VirtualTime()
    here, there = Line(time), Line(time)
    here.come("a", 100)
    here.come("b", 100)
    there.come("a", 100)
    assert there.serve().tenant == "a"
    assert [here.serve().tenant for _ in range(2)] == ["b", "a"]


def test_another_virtual_time_keeps_everyone_in_line(line: Line) -> None:
    waiters = [line.come("a", 5), line.come("b", 5), line.come("a", 5)]
    time = VirtualTime()
    time.serve("a", 0, 1_000)
    line.queue.set_time(time)
    assert [line.queue.pop() for _ in range(3)] == [waiters[1], waiters[0], waiters[2]]


def test_how_many_wait_is_told_by_class(line: Line) -> None:
    for tenant, priority in (("a", 0), ("b", 0), ("a", -5), ("a", 7), ("a", 0)):
        line.come(tenant, priority=priority)
    assert list(line.queue.by_class().items()) == [(-5, 1), (0, 3), (7, 1)]
    while line.queue.length:
        line.queue.pop()
    assert line.queue.by_class() == {}


def test_how_many_come_before_one_that_comes_now(line: Line) -> None:
    for _ in range(10):
        line.come("many")
    line.come("low", priority=1)
    line.come("high", priority=-1)
    assert line.queue.ahead_of(Ticket("many")) == 11
    assert line.queue.ahead_of(Ticket("new")) == 2
    assert line.queue.ahead_of(Ticket("new", priority=-1)) == 1
    assert line.queue.ahead_of(Ticket("new", priority=2)) == 12


@given(st.lists(st.tuples(st.sampled_from("abc"), SIZES), min_size=20, max_size=60))
def test_over_any_interval_two_tenants_that_wait_differ_by_a_request_of_each_at_most(
    requests: list[tuple[str, int]],
) -> None:
    line = Line()
    largest, left = Counter[str](), Counter[str]()
    for tenant, tokens in requests:
        line.come(tenant, tokens)
        largest[tenant] = max(largest[tenant], tokens)
        left[tenant] += 1
    served: list[Counter[str]] = [Counter()]
    while all(left[tenant] > 0 for tenant in largest):
        ticket = line.serve()
        left[ticket.tenant] -= 1
        served.append(served[-1] + Counter({ticket.tenant: ticket.tokens}))
    for one, other in product(largest, repeat=2):
        ahead = [sums[one] - sums[other] for sums in served]
        most = max(now - least for now, least in zip(ahead, accumulate(ahead, min), strict=True))
        assert most <= largest[one] + largest[other]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcd"), SIZES), max_size=60), st.data())
def test_all_are_served_once_whoever_comes_and_leaves_meanwhile(
    requests: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    line, waiting = Line(), list[Waiter]()
    for priority, tenant, tokens in requests:
        waiting.append(line.come(tenant, tokens, priority))
        match data.draw(st.sampled_from(("serve", "leave", "nothing"))):
            case "serve":
                served = line.queue.pop()
                assert isinstance(served, Waiter)
                same = [each for each in waiting if each.ticket[:2] == served.ticket[:2]]
                assert served is same[0]
                waiting.remove(served)
            case "leave":
                left = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
                assert line.queue.discard(left)
        assert line.queue.length == len(waiting)
    while waiting:
        served = line.queue.pop()
        assert isinstance(served, Waiter)
        waiting.remove(served)
    assert line.queue.length == 0


def test_no_request_waits_for_ever_behind_tenants_without_number(line: Line) -> None:
    line.come("patient", 1_000)
    line.serve()
    line.come("patient", 1_000)
    for number in range(30_000):
        line.come(f"new {number}", 1_000)
        if line.serve().tenant == "patient":
            return
    pytest.fail("it still waits")


def test_clients_that_come_and_leave_leave_nothing(line: Line) -> None:
    line.come("a")
    for number in range(10_000):
        waiter = line.come(f"{number % 50}")
        line.come(f"{number % 50}")
        assert line.queue.discard(waiter)
        if line.queue.length > 40:
            line.queue.pop()
    while line.queue.length:
        line.queue.pop()
    assert repr(line.queue) == "<FairQueue [0 waiting, 0 tenants]>"


# what a full queue gives up


def test_the_tenant_with_the_most_requests_makes_room(line: Line) -> None:
    line.come("few")
    many = [line.come("many") for _ in range(3)]
    assert line.queue.displaceable(Ticket("new")) is many[-1]
    assert line.queue.displaceable(Ticket("few")) is many[-1]


def test_tenants_with_as_many_requests_as_the_newcomer_would_have_keep_theirs(line: Line) -> None:
    for tenant in ("a", "a", "b"):
        line.come(tenant)
    assert line.queue.displaceable(Ticket("a")) is None
    # It would only turn the two around.
    assert line.queue.displaceable(Ticket("b")) is None


def test_the_only_request_of_a_tenant_keeps_its_place(line: Line) -> None:
    line.come("a", priority=100)
    assert line.queue.displaceable(Ticket("b", priority=-100)) is None


def test_the_lowest_class_makes_room_first_and_never_for_a_lower_one(line: Line) -> None:
    for _ in range(9):
        line.come("chats")
    batch = [line.come("batch", priority=50) for _ in range(2)]
    assert line.queue.displaceable(Ticket("new")) is batch[-1]
    assert line.queue.displaceable(Ticket("chats")) is batch[-1]
    assert line.queue.displaceable(Ticket("lower", priority=60)) is None


@pytest.mark.parametrize("classes", [range(20), range(1000, 1020)])
def test_a_tenant_that_spreads_its_requests_over_classes_keeps_no_more_of_them(line: Line, classes: range) -> None:
    many = [line.come("many", priority=priority) for priority in classes]
    assert line.queue.displaceable(Ticket("new")) is many[-1]
    assert line.queue.displaceable(Ticket("many", priority=classes[-1])) is None


def test_a_tenant_alone_makes_no_room_for_itself(line: Line) -> None:
    for _ in range(3):
        line.come("a")
    assert line.queue.displaceable(Ticket("a")) is None
