"""Whatever a lease holds is given back exactly once, in whatever order it was taken."""

from __future__ import annotations

from gateway.exchange.lease import Lease
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.admission import Admission
from gateway.pools.policies import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica
from tests.kit.waiters import Waiter


def pool_of_two() -> Pool:
    replicas = [
        Replica(f"m-{n}", ConnectionPool(Address.parse(f"http://127.0.0.1:{n + 1}"), connect_timeout=1.0))
        for n in range(2)
    ]
    return Pool("m", replicas, policy=RoundRobin(), admission=Admission(4, 4), tasks=frozenset({"generate"}))


def counts(pool: Pool) -> tuple[int, int, list[int]]:
    return pool.admission.running, pool.tokens_in_flight, [replica.in_flight for replica in pool.replicas]


def test_a_lease_gives_back_what_it_holds_once() -> None:
    pool = pool_of_two()
    lease = Lease(pool)
    assert pool.admission.admit(Waiter())
    lease.admitted(100)
    lease.take(pool.replicas[0])
    assert counts(pool) == (1, 100, [1, 0])
    for _ in range(2):
        lease.release()
        assert counts(pool) == (0, 0, [0, 0])


def test_a_lease_that_takes_another_over_is_where_that_was() -> None:
    pool = pool_of_two()
    lease, other = Lease(pool), Lease(pool)
    lease.take(pool.replicas[0])
    other.take(pool.replicas[1])
    lease.take_over(other)
    assert counts(pool) == (0, 0, [0, 1])
    other.release()
    assert counts(pool) == (0, 0, [0, 1])
    lease.release()
    assert counts(pool) == (0, 0, [0, 0])
