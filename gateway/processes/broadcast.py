"""Tells all child processes what they serve, and every change of it: pools, replicas and their states, models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.config.schema import Config
from gateway.pools.build import PoolLayout, RegistryBuilder
from gateway.pools.model import Model
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState
from gateway.processes.child_handle import Update
from gateway.processes.confirmations import Confirmations
from gateway.processes.messages import Confirm, LengthUpdate, PoolUpdate, ReplicaUpdate, Served


class Broadcast:
    """Follows a registry, and sends its changes to the processes.

    ``send`` sends an update to all of them and tells which were there to get it. What a process that starts later has
    to know is ``served``. ``followed`` is told of all replicas, whenever there are others.
    """

    def __init__(
        self,
        builder: RegistryBuilder,
        config: Config,
        registry: Registry,
        send: Callable[[Update], Sequence[int]],
        followed: Callable[[Sequence[Replica]], None],
    ) -> None:
        self._builder = builder
        self._send = send
        self._followed = followed
        self._confirmations = Confirmations()
        self._observed: set[Pool | Replica] = set()
        self._changed: dict[Replica, None] = {}
        """Replicas whose states are to be sent."""
        self._follow(config, registry)

    def __repr__(self) -> str:
        return f"<Broadcast of {self._registry!r} {self._confirmations!r}>"

    @property
    def served(self) -> Served:
        """What the processes serve now."""
        return Served(
            config=self._config.model_dump_json(exclude_unset=True).encode(),
            pools=dict(self._builder.layout),
            replicas=[_update_of(replica) for replica in self._registry.replicas],
            lengths=[LengthUpdate(model.name, model.max_model_len) for model in self._registry.models],
        )

    def apply(self, config: Config, registry: Registry) -> None:
        """Let the processes go by another configuration from now on."""
        self._follow(config, registry)
        self._send(self.served)
        self._wait_for(registry.closing)

    def show_load(self, replica: Replica) -> None:
        """Tell the processes what the engine of a replica says of its load."""
        self._send(_update_of(replica))

    def confirmed(self, process: int, number: int) -> None:
        """Note that everything holds in a process which it was told before it was asked to confirm this."""
        self._confirmations.confirmed(process, number)

    def ended(self, process: int) -> None:
        """Wait no longer for a process that has ended."""
        self._confirmations.ended(process)

    def is_known(self, subject: object) -> bool:
        """Whether all processes know what was last said of a replica or a pool."""
        self._send_changes()
        return self._confirmations.settled(subject)

    # inside

    def _follow(self, config: Config, registry: Registry) -> None:
        self._config, self._registry = config, registry
        for model in registry.models:
            model.observe(self._model_changed)
        self._observe()

    def _observe(self) -> None:
        """Hear of what will change of the pools and replicas that there are now."""
        pools = (*self._registry.pools, *self._registry.closing)
        replicas = [replica for pool in pools for replica in pool.replicas]
        for pool in pools:
            if pool not in self._observed:
                pool.observe(self._pool_changed)
        for replica in replicas:
            if replica not in self._observed:
                replica.observe(self._replica_changed)
        self._observed = {*pools, *replicas}
        self._followed(replicas)

    def _pool_changed(self, pool: Pool) -> None:
        """Send which replicas a pool has, with the states of those that are new."""
        new = [replica for replica in pool.replicas if replica not in self._observed]
        self._observe()
        self._send(PoolUpdate(PoolLayout.of(pool)))
        for replica in new:
            self._send(_update_of(replica))

    def _replica_changed(self, replica: Replica) -> None:
        """Send the state of a replica soon: what is said of one may lead to something being said of another."""
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._send_changes)
        self._changed[replica] = None

    def _send_changes(self) -> None:
        """Send the states that have changed: first who is ready, so that nobody drains before another can be asked."""
        # One that has gone by now is not told of: its name may be another's already.
        changed, self._changed = [each for each in self._changed if each in self._observed], {}
        draining = [replica for replica in changed if replica.state is ReplicaState.DRAINING]
        for replica in (*(each for each in changed if each not in draining), *draining):
            self._send(_update_of(replica))
        if draining:
            self._wait_for(draining)

    def _model_changed(self, model: Model) -> None:
        self._send(LengthUpdate(model.name, model.max_model_len))

    def _wait_for(self, subjects: Sequence[Pool | Replica]) -> None:
        """Let all processes confirm what they were told of these before they are forgotten."""
        number = self._confirmations.next_number()
        processes = self._send(Confirm(number))
        for subject in subjects:
            self._confirmations.wait_for(subject, number, processes)


def _update_of(replica: Replica) -> ReplicaUpdate:
    return ReplicaUpdate(
        replica.name, replica.state, replica.reason, sorted(replica.adapters), replica.foreign, replica.cache_tokens
    )
