"""Keeps as many engines running as each model wants, and replaces those that a new configuration changes.

They run where their specifications say: here, or on a Ray cluster. ``rolling_update`` decides what follows for a model
whenever something has changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import takewhile
from time import monotonic
from typing import Protocol

from engines.spec import EngineSpec
from engines.supervisor import ReplicaStatus, State
from gateway.fleet.managed_engine import ManagedEngine, Place, SleepingPlace
from gateway.fleet.rolling_update import next_step, surplus
from gateway.fleet.sleeping_engines import SleepingEngines, useless_asleep
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState
from gateway.scaling.eviction import Holdings, Room, left_beside

_ENGINE_GRACE = 10.0
"""Seconds that an engine gets to end by itself."""

_ROOM_SECONDS = 15.0
"""So long a replica on a cluster is awaited before it has found room: none may ever be there."""


class Replicas(Protocol):
    """What makes a replica of the name and the address of an engine, and lets it follow that to another address."""

    def new_replica(self, name: str, url: str) -> Replica:
        """Make a replica that no pool has yet."""

    def move_replica(self, pool: Pool, replica: Replica, url: str, key: str) -> None:
        """Ask a replica at another address from now on, with a key if it wants one."""


class ManagedEngines:
    """The engines that the gateway starts and stops, each a replica of its model's pool.

    ``here`` and ``ray`` make the places where they run, of what is to be told how one is doing; where ``ray`` makes
    none, no specification may ask for it. ``on_change`` is told what its place says of an engine, after its replica
    was. An engine whose replica has drained is stopped, for whatever reason it was drained. A replica that is to be
    ``held back`` does not become ready with its engine: who prepares it says when.
    """

    def __init__(
        self,
        here: Callable[[Callable[[ReplicaStatus], None]], SleepingPlace],
        replicas: Replicas,
        on_change: Callable[[ReplicaStatus], None],
        *,
        ray: Callable[[Callable[[ReplicaStatus], None]], Place | None] = lambda _: None,
        holds_back: Callable[[Replica], bool] = lambda _: False,
    ) -> None:
        self._here = here(self._changed)
        self._sleeping = SleepingEngines(self._here, replicas.new_replica)
        self._ray = ray(self._changed)
        self._places = [place for place in (self._here, self._ray) if place is not None]
        self._replicas = replicas
        self._on_change = on_change
        self._holds_back = holds_back
        self._engines: dict[str, ManagedEngine] = {}
        self._wanted: dict[str, tuple[EngineSpec, Pool]] = {}
        self._numbers: dict[str, int] = {}
        """How many replicas a model is to have, where that is not for its specification to say."""
        self._giving_way: set[str] = set()
        """The replicas that go first of those that are too many, until that has been seen to."""
        self._start_seconds: dict[str, float] = {}
        self._due: set[str] = set()
        """The models that will be looked at in the loop's next turn."""
        self._stopping: set[asyncio.Task[None]] = set()
        self._ended = False

    def __repr__(self) -> str:
        return f"<ManagedEngines {list(self._engines)}>"

    @property
    def names(self) -> Collection[str]:
        """The names of the replicas, as they are at any time."""
        return self._engines.keys()

    @property
    def awaited(self) -> list[str]:
        """The replicas whose engines are on their way to be ready, and those that may find room at once."""
        return [
            each.replica
            for place in self._places
            for each in place.statuses
            if each.state in (State.FETCHING, State.STARTING)
            or (each.state is State.PENDING and self._engines[each.replica].waited < _ROOM_SECONDS)
            or (each.state is State.READY and self._engines[each.replica].replica.state is ReplicaState.STARTING)
        ]

    def apply(self, specs: Iterable[EngineSpec], pools: Mapping[str, Pool]) -> None:
        """Bring about what these models want from now on. ``pools`` are those of the models, by their names."""
        self._wanted = {spec.model: (spec, pools[spec.model]) for spec in specs}
        # A new model gets its GPUs before an update that could do without one more.
        running = {engine.spec.model for engine in self._engines.values()}
        for model in sorted(self._wanted, key=running.__contains__):
            self._advance(model)

    def scale(self, numbers: Mapping[str, int], giving_way: Collection[str] = ()) -> None:
        """Have so many replicas of these models from now on, and of all others as many as their specifications say.

        Where there is room for one alone, the first of these models gets it. Where there are too many of a model, those
        go first that are ``giving_way``, by their names.
        """
        self._giving_way.update(giving_way)
        changed = {model for model in self._wanted if numbers.get(model) != self._numbers.get(model)}
        self._numbers = dict(numbers)
        self._look_again(changed)

    def number(self, model: str) -> int:
        """Tell how many replicas of a model there are, without those on their way out and those that sleep."""
        return len(self._awake(model))

    @property
    def leaving(self) -> int:
        """How many engines are on their way out."""
        return sum(each.draining for each in self._engines.values())

    def room(self) -> Room:
        """Tell what there is here for more replicas, now or when those have gone that are on their way out."""
        return self._here.room_beside(
            [name for name, each in self._engines.items() if each.place is self._here and each.stays_awake]
        )

    def holdings(self, model: str) -> Holdings:
        """Tell what the replicas of a model have here, and what one more would take.

        Of a model in the middle of an update none is named, as it is not for scaling to say which of them go.
        """
        spec, _ = self._wanted[model]
        if spec.ray is not None:
            return Holdings({})
        awake, asleep = self._awake(model), self._asleep(model)
        updating = not all(each.spec.serves(spec) for each in awake)
        going = [] if updating else [each.replica.name for each in reversed(surplus(awake, 0))]
        places = [self._here.gpus_of(each.replica.name) for each in asleep if each.spec.serves(spec)]
        return Holdings({name: self._here.gpus_of(name) for name in going}, [*places, spec.gpus])

    def waits_for(self, model: str) -> str:
        """Say what a replica waits for that a model is to have; nothing where none is missing."""
        spec, _ = self._wanted[model]
        if self.number(model) >= self._numbers.get(model, spec.replicas):
            return ""
        lacking = self._place_of(spec).lacks(spec)
        if not lacking and self._is_kept(spec):
            lacking = "what is free is kept for a model that waits for more of it"
        return f"{lacking}; {self.leaving} on their way out" if lacking and self.leaving else lacking

    def start_seconds(self, model: str) -> float | None:
        """Tell how long the last start of a replica, or its waking, took; ``None`` before the first."""
        return self._start_seconds.get(model)

    def start(self) -> None:
        """Start all engines; returns at once."""
        for place in self._places:
            place.start()

    async def stop(self) -> None:
        """Stop all engines, side by side."""
        self._ended = True
        await asyncio.gather(*(place.stop(_ENGINE_GRACE) for place in self._places), *self._stopping)

    # a step at a time, whenever something has changed

    def _advance(self, model: str) -> None:
        """Take the next step towards what a model wants. Each step changes a replica, which leads to the next one."""
        spec, pool = self._wanted[model]
        asleep, awake = self._asleep(model), self._awake(model)
        for each in useless_asleep(asleep, spec, len(awake)):
            pool.drain(each.replica)
        number = self._numbers.get(model, spec.replicas)
        # One that falls asleep is woken sooner than another is started.
        missing = number - len(awake) - self._falling_asleep(model)
        step = next_step(spec, awake, number, missing, self._giving_way, any_draining=self._any_draining(model))
        if spec.sleep is not None:
            self._sleeping.choose(step.drain, spec, spec.sleep.most - number - len(asleep))
        for each in step.drain:
            pool.drain(each.replica)
        started = [self._start_one(spec, pool) for _ in range(step.start)]
        if step.gives_way is not None and not any(started):
            pool.drain(step.gives_way.replica)

    def _start_one(self, spec: EngineSpec, pool: Pool) -> bool:
        """Wake an engine, or start one and take it into its pool; return whether there was room for it."""
        if self._is_kept(spec):
            return False
        if self._sleeping.wake_one(self._asleep(spec.model), spec):
            return True
        place = self._place_of(spec)
        status = place.add(spec)
        if status is None:
            return False
        replica = self._replicas.new_replica(status.replica, status.address)
        replica.set_state(ReplicaState(status.state))
        self._engines[status.replica] = ManagedEngine(spec, place, pool, replica, monotonic())
        replica.observe(self._replica_changed)
        pool.add(replica)
        return True

    def _is_kept(self, spec: EngineSpec) -> bool:
        """Whether what is free here is kept for models before this one in line, which fit in when others have gone."""
        if spec.ray is not None or not self.leaving:
            return False
        numbers = Counter(each.spec.model for each in self._engines.values() if each.stays_awake)
        ahead = [
            self.holdings(name).ways
            for name in takewhile(lambda name: name != spec.model, self._numbers)
            if name in self._wanted
            for _ in range(numbers[name], self._numbers[name])
        ]
        left = left_beside(ahead, self.room())
        return all(left.short_of(way) for way in self.holdings(spec.model).ways)

    def _place_of(self, spec: EngineSpec) -> Place:
        place = self._here if spec.ray is None else self._ray
        assert place is not None
        return place

    def _awake(self, model: str) -> list[ManagedEngine]:
        return [each for each in self._engines.values() if each.spec.model == model and each.stays_awake]

    def _asleep(self, model: str) -> list[ManagedEngine]:
        return [each for each in self._engines.values() if each.spec.model == model and each.asleep]

    def _falling_asleep(self, model: str) -> int:
        return sum(each.spec.model == model and self._sleeping.falls_asleep(each) for each in self._engines.values())

    def _any_draining(self, model: str) -> bool:
        return any(each.draining for each in self._engines.values() if each.spec.model == model)

    # what happens

    def _changed(self, status: ReplicaStatus) -> None:
        """Take over what its place says of an engine."""
        engine = self._engines[status.replica]
        replica = engine.replica
        if self._sleeping.falls_asleep(engine):
            # It is in no pool for now, and what has become of it is known when it sleeps, or does not.
            self._on_change(status)
            return
        if engine.asleep and status.state is State.STOPPED:
            engine.pool.remove(replica)
        if status.address != replica.address.url:
            self._replicas.move_replica(engine.pool, replica, status.address, status.key)
        if status.state is not State.READY or not self._holds_back(replica):
            replica.set_state(ReplicaState(status.state), status.reason or _why_again(replica, status.state))
        self._on_change(status)

    def _replica_changed(self, replica: Replica) -> None:
        """Stop the engine of a replica that has drained, or put it to sleep, and go on with what waits for this."""
        engine = self._engines[replica.name]
        if replica.ready and not engine.was_ready:
            engine.was_ready = True
            self._start_seconds[engine.spec.model] = monotonic() - engine.since
        if replica.state is ReplicaState.STOPPED and not engine.ending and not self._ended:
            engine.ending = True
            ending = self._put_to_sleep(engine) if self._sleeping.chose(engine) else self._stop(engine)
            task = asyncio.get_running_loop().create_task(ending)
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
        self._look_again([engine.spec.model])

    async def _put_to_sleep(self, engine: ManagedEngine) -> None:
        wanted, _ = self._wanted.get(engine.spec.model, (None, None))
        if not await self._sleeping.put_to_sleep(engine, wanted):
            await self._stop(engine)
            return
        engine.ending = False
        engine.replica.observe(self._replica_changed)
        engine.pool.add(engine.replica)
        # Its GPUs may be what another model waits for, or it is needed again.
        self._look_again(self._wanted.keys())

    async def _stop(self, engine: ManagedEngine) -> None:
        name = engine.replica.name
        await engine.place.remove(name, _ENGINE_GRACE)
        if self._ended:
            return
        del self._engines[name]
        # What is free now may be what another model waits for.
        self._look_again(self._wanted.keys())

    def _look_again(self, models: Collection[str]) -> None:
        """Take the next steps of these models, but not in the middle of a step."""
        if models and not self._due:
            asyncio.get_running_loop().call_soon(self._advance_due)
        self._due.update(models)

    def _advance_due(self) -> None:
        due, self._due = self._due, set()
        in_line = [*(name for name in self._numbers if name in due), *sorted(due - self._numbers.keys())]
        for model in in_line:
            if model in self._wanted and not self._ended:
                self._advance(model)
        self._giving_way.clear()


def _why_again(replica: Replica, state: State) -> str:
    """Give why an engine that starts had to be started again, which operators look for as long as it is not ready."""
    again = state is State.STARTING and replica.state is ReplicaState.RESTARTING
    return f"started again: {replica.reason}" if again else ""
