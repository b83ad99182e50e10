"""Replicas and pools as tests want them."""

from __future__ import annotations

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.admission import Admission
from gateway.pools.policies import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica


def replica(name: str, *, ready: bool = True) -> Replica:
    return Replica(name, ConnectionPool(Address.parse(f"unix:/run/{name}.sock"), connect_timeout=1.0), ready=ready)


def pool(model: str, *replicas: Replica, tasks: tuple[str, ...] = ("generate",)) -> Pool:
    return Pool(model, replicas, policy=RoundRobin(), admission=Admission(8, max_queue=8), tasks=frozenset(tasks))
