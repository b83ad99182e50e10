"""Whatever a lease holds is given back exactly once, in whatever order it was taken."""

from __future__ import annotations

from gateway.exchange.lease import Lease
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.admission import Admission
from gateway.pools.policies.policy import Policy, Routable
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.pools.made import Request
from tests.kit.waiters import Waiter


def pool_of_two(policy: Policy | None = None) -> Pool:
    replicas = [
        Replica(f"m-{n}", ConnectionPool(Address.parse(f"http://127.0.0.1:{n + 1}"), connect_timeout=1.0))
        for n in range(2)
    ]
    return Pool("m", replicas, policy=policy or RoundRobin(), admission=Admission(4, 4))


def counts(pool: Pool) -> tuple[int, int, list[int]]:
    return pool.admission.running, pool.tokens_in_flight, [replica.in_flight for replica in pool.replicas]


def test_a_lease_gives_back_what_it_holds_once() -> None:
    pool = pool_of_two()
    lease = Lease(pool, Request())
    assert pool.admission.admit(Waiter())
    lease.admitted(100)
    lease.take(pool.replicas[0])
    assert counts(pool) == (1, 100, [1, 0])
    for _ in range(2):
        lease.release()
        assert counts(pool) == (0, 0, [0, 0])


def test_a_lease_that_takes_another_over_is_where_that_was() -> None:
    pool = pool_of_two()
    lease, other = Lease(pool, Request()), Lease(pool, Request())
    lease.take(pool.replicas[0])
    other.take(pool.replicas[1])
    lease.take_over(other)
    assert counts(pool) == (0, 0, [0, 1])
    other.release()
    assert counts(pool) == (0, 0, [0, 1])
    lease.release()
    assert counts(pool) == (0, 0, [0, 0])


class Bookkeeping(RoundRobin):
    """A policy that keeps a list of what is assigned."""

    def __init__(self) -> None:
        super().__init__()
        self.books: list[tuple[str, Routable]] = []

    def assigned(self, replica: Replica, request: Routable) -> None:
        self.books.append((replica.name, request))

    def released(self, replica: Replica, request: Routable) -> None:
        self.books.remove((replica.name, request))


def test_a_policy_that_keeps_books_hears_once_that_a_request_has_left() -> None:
    policy = Bookkeeping()
    pool = pool_of_two(policy)
    for replica in pool.replicas:
        replica.set_state(ReplicaState.READY)
    request = Request()
    lease, hedge = Lease(pool, request), Lease(pool, request)
    first = pool.pick(request)
    lease.take(first)
    hedge.take(pool.pick(request, (first,)))
    assert sorted(name for name, _ in policy.books) == ["m-0", "m-1"]
    lease.take_over(hedge)
    assert len(policy.books) == 1
    hedge.release()
    lease.release()
    lease.release()
    assert policy.books == []
