"""Engines that are not needed sleep instead of being stopped: which of them do, and which is woken first.

An engine that falls asleep has drained and left its pool. Asleep it is in the pool again as a replica that gets no
requests, so that operators see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engines.errors import EngineError
from engines.spec import EngineSpec
from gateway.fleet.managed_engine import ManagedEngine, SleepingPlace
from gateway.pools.replica import Replica, ReplicaState


class SleepingEngines:
    """The engines of a place that sleep or are about to. ``new_replica`` makes a replica of a name and an address."""

    def __init__(self, place: SleepingPlace, new_replica: Callable[[str, str], Replica]) -> None:
        self._place = place
        self._new_replica = new_replica
        self._chosen: set[ManagedEngine] = set()
        """Those that will sleep as soon as they have drained."""

    def __repr__(self) -> str:
        return f"<SleepingEngines [{len(self._chosen)} about to sleep]>"

    def choose(self, surplus: Iterable[ManagedEngine], wanted: EngineSpec, room: int) -> None:
        """Let engines sleep when they have drained, ``room`` of them at most: those that can serve again as wanted."""
        able = [each for each in surplus if each.replica.ready and each.spec.serves(wanted)]
        if wanted.sleep is not None:
            self._chosen.update(able[: max(0, room)])

    def chose(self, engine: ManagedEngine) -> bool:
        """Whether an engine is to sleep when it has drained."""
        return engine in self._chosen

    def falls_asleep(self, engine: ManagedEngine) -> bool:
        """Whether an engine has drained and left its pool, and is about to sleep."""
        return engine in self._chosen and engine.replica.state is ReplicaState.STOPPED

    async def put_to_sleep(self, engine: ManagedEngine, wanted: EngineSpec | None) -> bool:
        """Put an engine to sleep that has drained; return whether it sleeps, else it has to be stopped.

        It is in its pool as another replica of the same name then. ``wanted`` is what its model asks for by now.
        """
        name = engine.replica.name
        try:
            if wanted is None or wanted.sleep is None or not engine.spec.serves(wanted):
                return False
            await self._place.sleep(name, wanted.sleep.level)
        except EngineError:
            return False
        finally:
            self._chosen.discard(engine)
        engine.replica = self._new_replica(name, engine.replica.address.url)
        engine.replica.set_state(ReplicaState.ASLEEP, f"sleep level {wanted.sleep.level}")
        return True

    def wake_one(self, asleep: Iterable[ManagedEngine], wanted: EngineSpec) -> bool:
        """Begin to wake the first engine whose GPUs are free and that serves what is wanted; return whether one is."""
        for each in asleep:
            if each.spec.serves(wanted) and self._place.wake(each.replica.name):
                each.wanted_again()
                return True
        return False


def useless_asleep(asleep: Sequence[ManagedEngine], wanted: EngineSpec, awake: int) -> Sequence[ManagedEngine]:
    """Choose the engines that are to sleep no longer but to be stopped.

    Those are the ones that could not serve what is wanted, and the first of more than there may be beside those awake.
    """
    if wanted.sleep is None:
        return asleep
    able = [each for each in asleep if each.spec.serves(wanted)]
    too_many = len(able) + awake - wanted.sleep.most
    return [*(each for each in asleep if each not in able), *able[: max(0, too_many)]]
