"""What the processes are told of replicas comes in an order in which no request can fail, and is confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.config.schema import Config
from gateway.pools.build import PoolLayout, RegistryBuilder
from gateway.pools.replica import Replica, ReplicaState
from gateway.processes.broadcast import Broadcast
from gateway.processes.child_handle import Update
from gateway.processes.messages import Confirm, LengthUpdate, PoolUpdate, ReplicaUpdate, Served


class Node:
    """A parent's registry of one model ``m``, and two processes that write down what they are told."""

    def __init__(self, *urls: str) -> None:
        self.told: list[Update] = []
        self.followed: Sequence[Replica] = ()
        self.builder = RegistryBuilder()
        config = self.built(m={"engine": "remote", "urls": urls})
        self.broadcast = Broadcast(self.builder, config, self.registry, self.send, self.follow)

    def built(self, **models: dict[str, Any]) -> Config:
        config = Config.model_validate({"models": models})
        self.registry = self.builder.build(config)
        return config

    def send(self, update: Update) -> Sequence[int]:
        self.told.append(update)
        return [0, 1]

    def follow(self, replicas: Sequence[Replica]) -> None:
        self.followed = replicas

    def reload(self, *urls: str, **others: dict[str, Any]) -> None:
        models = others | ({"m": {"engine": "remote", "urls": urls}} if urls else {})
        config = self.built(**models)
        self.broadcast.apply(config, self.registry)


def state(name: str, what: ReplicaState) -> ReplicaUpdate:
    return ReplicaUpdate(name, state=what, reason="")


async def test_what_a_process_has_to_know_at_its_start() -> None:
    node = Node("http://a", "http://b")
    node.registry.find("m").set_max_model_len(7)
    served = node.broadcast.served
    assert served.pools == {"m": PoolLayout("m", (("m-0", "http://a", ""), ("m-1", "http://b", "")))}
    assert served.replicas == [state(f"m-{number}", ReplicaState.STARTING) for number in range(2)]
    assert served.lengths == [LengthUpdate("m", 7)]
    assert node.told == [LengthUpdate("m", 7)]


async def test_who_is_ready_is_told_before_who_drains_because_of_it() -> None:
    node = Node("http://a")
    (old,) = node.followed
    old.set_state(ReplicaState.READY)
    node.reload("http://b")
    await asyncio.sleep(0)
    node.told.clear()
    new = next(replica for replica in node.followed if replica is not old)
    new.set_state(ReplicaState.READY)
    await asyncio.sleep(0)
    assert node.told[:2] == [state("m-1", ReplicaState.READY), state("m-0", ReplicaState.DRAINING)]
    assert isinstance(node.told[2], Confirm)


async def test_a_replica_that_drains_is_known_to_when_all_processes_have_confirmed_it() -> None:
    node = Node("http://a")
    (replica,) = node.followed
    node.registry.pools[0].drain(replica)
    # Also before the loop has had its next turn.
    assert not node.broadcast.is_known(replica)
    confirm = node.told[-1]
    assert isinstance(confirm, Confirm)
    node.broadcast.confirmed(0, confirm.number)
    assert not node.broadcast.is_known(replica)
    node.broadcast.ended(1)
    assert node.broadcast.is_known(replica)


async def test_a_pool_that_closes_is_known_to_when_all_processes_have_the_new_configuration() -> None:
    node = Node("http://a")
    (pool,) = node.registry.pools
    node.reload(n={"engine": "remote", "urls": ["http://b"]})
    *_, served, confirm = node.told
    assert isinstance(served, Served)
    assert isinstance(confirm, Confirm)
    assert list(served.pools) == ["n"]
    assert not node.broadcast.is_known(pool)
    for process in range(2):
        node.broadcast.confirmed(process, confirm.number)
    assert node.broadcast.is_known(pool)


async def test_a_replica_that_is_added_is_told_with_its_state() -> None:
    node = Node("http://a")
    (pool,) = node.registry.pools
    pool.add(node.builder.new_replica("m-7", "unix:/s"))
    assert node.told == [
        PoolUpdate(PoolLayout("m", (("m-0", "http://a", ""), ("m-7", "unix:/s", "")))),
        state("m-7", ReplicaState.STARTING),
    ]
    assert [replica.name for replica in node.followed] == ["m-0", "m-7"]


async def test_of_one_that_is_gone_nothing_is_told_as_its_name_may_be_that_of_another() -> None:
    node = Node("http://a")
    (pool,) = node.registry.pools
    (old,) = pool.replicas
    pool.drain(old)
    pool.remove_drained()
    pool.add(node.builder.new_replica("m-0", "unix:/s"))
    await asyncio.sleep(0)
    assert old.state is ReplicaState.STOPPED
    assert node.told == [
        PoolUpdate(PoolLayout("m", ())),
        PoolUpdate(PoolLayout("m", (("m-0", "unix:/s", ""),))),
        state("m-0", ReplicaState.STARTING),
    ]


async def test_the_adapters_of_a_replica_and_what_its_engine_says_are_told() -> None:
    node = Node("http://a")
    (replica,) = node.followed
    replica.set_adapters(frozenset({"sql", "poet"}))
    await asyncio.sleep(0)
    replica.foreign, replica.cache_tokens = 2.5, 4096
    node.broadcast.show_load(replica)
    told = ReplicaUpdate("m-0", ReplicaState.STARTING, "", ["poet", "sql"])
    known = ReplicaUpdate("m-0", ReplicaState.STARTING, "", ["poet", "sql"], 2.5, 4096)
    assert node.told == [told, known]
    assert node.broadcast.served.replicas == [known]
