"""Which engines of a model are started and which go next: a plain decision over those that there are.

A change is a rolling update: one new engine is started beside the old ones, and when it is ready, one old engine drains
and is stopped; then the next. Where no GPU is free for a new engine, an old one drains first; on a cluster, when it has
looked for room for ``startup_timeout``. An engine that never becomes ready holds the update up, and the old ones go on
serving.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from engines.spec import EngineSpec
from gateway.fleet.managed_engine import ManagedEngine


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done next. Each step changes a replica, which leads to the next one."""

    drain: Sequence[ManagedEngine] = ()
    """The engines that are to go."""
    start: int = 0
    """How many engines are to be started, as far as there is room for them."""
    gives_way: ManagedEngine | None = None
    """The engine that is to go if none of them can be started."""


def next_step(
    wanted: EngineSpec,
    awake: Sequence[ManagedEngine],
    number: int,
    missing: int,
    giving_way: Collection[str] = (),
    *,
    any_draining: bool = False,
) -> Step:
    """Decide what follows for a model that is to have a ``number`` of engines, of which so many are ``missing``.

    ``awake`` are the engines that there are, without those that sleep or are on their way out; ``any_draining`` says
    whether there are any of the latter. Of those that are too many, those go first whose replicas are ``giving_way``.
    """
    new = [each for each in awake if each.spec.serves(wanted)]
    old = [each for each in awake if not each.spec.serves(wanted)]
    useless = [each for each in old if not each.replica.ready] + surplus(new, number, giving_way)
    if useless:
        return Step(drain=useless)
    if not old:
        return Step(start=max(0, missing))
    if all(each.replica.ready for each in new):
        if len(awake) > number:
            return Step(drain=old[:1])
        return Step(start=1, gives_way=None if any_draining else old[0])
    if any(each.finds_no_room for each in new) and not any_draining:
        return Step(drain=old[:1])
    return Step()


def surplus(engines: Sequence[ManagedEngine], wanted: int, first: Collection[str] = ()) -> list[ManagedEngine]:
    """Choose the engines that are too many.

    Those go ``first`` that are named, then those that are not ready, then the least busy, of these the youngest.
    """
    least_useful_last = sorted(
        engines,
        key=lambda engine: (engine.replica.name in first, not engine.replica.ready, -engine.replica.in_flight),
    )
    return least_useful_last[wanted:]
