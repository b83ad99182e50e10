"""How much a node asks for ahead, when it gives it back, and what it does to clocks that jump."""

from __future__ import annotations

from threading import Lock

from gateway.core.limits import LocalUsage, Rate
from gateway.core.sliding_window import NANOSECONDS
from gateway.shared_limits.account import Account
from gateway.shared_limits.ledger import Answer, Entry

NOW = 1_000 * NANOSECONDS
REDIS_NOW = 1_900_000_000_000_000
EXCHANGE = NANOSECONDS // 20


class Alone:
    """An account whose ledger is the test."""

    def __init__(self, limit: int = 100) -> None:
        usage = LocalUsage()
        usage.sharing[0] = 2
        self.lease = usage.lease("key 'a'", "requests_per_minute")
        self.rate = Rate("requests_per_minute", limit, usage.window("key 'a'", "requests_per_minute"), self.lease)
        self.account = Account("key 'a' requests_per_minute", self.rate, self.lease, Lock())
        self.current = 0
        self.now = NOW
        self.tell()

    def use(self, times: int) -> None:
        self.rate.window.advance(self.now)
        for _ in range(times):
            self.rate.window.current[0] += 1
            self.lease.use(1)

    def tell(self, *, hungry: bool = False, leaves_nothing: bool = False) -> Entry | None:
        """Exchange once, and get what was asked for."""
        self.now += EXCHANGE
        entry = self.account.entry(self.now)
        if entry is not None:
            leased = 0 if leaves_nothing else entry.want
            self.current += entry.charge + leased
            self.account.settle(entry, self.answer(leased, hungry=hungry), REDIS_NOW, self.now)
        return entry

    def answer(self, leased: int = 0, *, hungry: bool = False, generation: int = 0) -> Answer:
        ago = 0 if hungry else 10**12
        return Answer(REDIS_NOW - 1_000_000, self.current, 0, generation, leased, ago)


def test_the_first_use_is_a_debt_and_the_next_is_leased_ahead() -> None:
    node = Alone()
    node.use(1)
    entry = node.tell()
    assert entry is not None
    assert (entry.charge, entry.want, entry.need) == (1, 1, 1)
    assert (node.lease.credit[0], node.rate.window.used(node.now)) == (1, 1)
    assert node.tell() is None


def test_a_burst_is_leased_twice_what_came_since_the_last_look() -> None:
    node = Alone()
    node.use(20)
    entry = node.tell()
    assert entry is not None
    assert (entry.charge, entry.want) == (20, 39)


def test_a_slice_that_is_not_used_is_given_back() -> None:
    node = Alone()
    node.use(1)
    node.tell()
    node.now += 31 * NANOSECONDS
    assert node.account.stirred(node.now)
    entry = node.tell()
    assert entry is not None
    assert (entry.charge, entry.want, node.lease.credit[0], node.current) == (-1, 0, 0, 1)


def test_what_is_not_left_is_asked_for_again_when_it_may_be() -> None:
    node = Alone(limit=10)
    node.use(10)
    node.tell(leaves_nothing=True)
    assert not node.account.stirred(node.now + NANOSECONDS)
    assert node.account.stirred(node.now + 2 * NANOSECONDS)


def test_a_reset_elsewhere_takes_the_slice() -> None:
    node = Alone()
    node.use(4)
    node.tell()
    node.current = 0
    node.account.hear(node.answer(generation=1), REDIS_NOW, node.now)
    assert (node.lease.credit[0], node.rate.window.used(node.now)) == (0, 0)


def test_a_clock_of_redis_that_jumps_begins_a_window_anew() -> None:
    node = Alone()
    node.use(5)
    node.tell()
    ahead = Answer(REDIS_NOW + 10**12, 5, 0, 0, 0, 10**12)
    node.account.hear(ahead, REDIS_NOW + 10**12, node.now)
    began = node.rate.window.began[0]
    assert 0 <= node.now - began <= NANOSECONDS


def test_a_clock_of_the_node_that_jumps_back_keeps_no_slice_for_ever() -> None:
    node = Alone()
    node.use(1)
    node.tell()
    node.now -= 500 * NANOSECONDS
    node.tell()
    node.now += 40 * NANOSECONDS
    node.account.entry(node.now)
    node.now += 40 * NANOSECONDS
    assert node.account.entry(node.now) is not None or node.lease.credit[0] == 0


def test_what_slid_out_of_the_window_while_redis_was_away_is_not_owed() -> None:
    node = Alone(limit=10**6)
    for _ in range(100):
        node.now += 6 * NANOSECONDS
        node.use(100)
    entry = node.account.entry(node.now)
    assert entry is not None
    assert entry.charge <= 1000
    assert entry.charge + entry.late <= 2000
