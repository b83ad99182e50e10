"""Which idle replicas give way to one that there is no room for: a plain decision over who has which GPUs and slots.

A replica goes only if one that waits can then start or wake. The fewest that suffice are chosen, and of these the ones
whose models have been idle for the longest. Where all idle replicas together do not suffice, none goes. What several
that go leave one after the other is kept for the one that waits for all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Wants = frozenset[str] | int
"""What one more replica takes: the very GPUs on which it sleeps, or so many of any; 0 is a slot on the CPU."""


@dataclass(frozen=True, slots=True)
class Room:
    """The GPUs, by their ids, and the slots for engines on the CPU that are free, or will be when those leave that do.

    ``cpu_slots`` is ``None`` where any number of engines may run on the CPU, and negative where too many do.
    """

    gpus: frozenset[str]
    cpu_slots: int | None

    def short_of(self, wants: Wants) -> int:
        """Say how many GPUs or CPU slots are missing for a replica."""
        if isinstance(wants, frozenset):
            return len(wants - self.gpus)
        if wants:
            return max(0, wants - len(self.gpus))
        return 0 if self.cpu_slots is None else max(0, 1 - self.cpu_slots)

    def without(self, wants: Wants) -> Room:
        """Give the room that is left beside a replica that fits."""
        if isinstance(wants, frozenset):
            return Room(self.gpus - wants, self.cpu_slots)
        if wants:
            return Room(self.gpus - set(sorted(self.gpus)[:wants]), self.cpu_slots)
        return Room(self.gpus, None if self.cpu_slots is None else self.cpu_slots - 1)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the replicas of a model have: the GPUs of each by its name, none on the CPU, the first to go first.

    ``ways`` are those to have one more, waking before starting; there are none where no room is counted for it.
    """

    replicas: Mapping[str, frozenset[str]]
    ways: Sequence[Wants] = ()


@dataclass(frozen=True, slots=True)
class Idle:
    """A model that has nothing to do since ``busy_at``, and how many of its replicas may go."""

    model: str
    busy_at: float
    replicas: Mapping[str, frozenset[str]]
    may_go: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """The replicas that are to go, by their models, so that ``beneficiary`` can have one more."""

    beneficiary: str
    going: Mapping[str, Sequence[str]]


class _Victim(NamedTuple):
    model: str
    name: str
    busy_at: float
    gpus: frozenset[str]

    def gives(self, wants: int) -> int:
        """Say how many GPUs would be free without it, or CPU slots where a replica wants no GPU."""
        return len(self.gpus) if wants else int(not self.gpus)


def left_beside(waiting: Iterable[Sequence[Wants]], room: Room) -> Room:
    """Give the room that is left beside those that wait in line, each with the ways to have it, as far as they fit.

    One that does not fit holds up none of those behind it.
    """
    for ways in waiting:
        fitting = _fitting(ways, room)
        if fitting is not None:
            room = room.without(fitting)
    return room


def make_room(waiting: Iterable[tuple[str, Sequence[Wants]]], room: Room, idle: Sequence[Idle]) -> Eviction | None:
    """Choose who gives way to the first of those that wait, by its model and ways, for which it is of use.

    Room that is free, or will be, is set aside for those before it in line.
    """
    longest_idle_first = sorted(idle, key=lambda each: each.busy_at)
    for model, ways in waiting:
        fitting = _fitting(ways, room)
        if fitting is not None:
            room = room.without(fitting)
        elif victims := _best(ways, room, longest_idle_first):
            models = dict.fromkeys(each.model for each in victims)
            return Eviction(model, {name: [each.name for each in victims if each.model == name] for name in models})
    return None


def _fitting(ways: Sequence[Wants], room: Room) -> Wants | None:
    """Give the first way for which there is room, or will be."""
    return next((way for way in ways if not room.short_of(way)), None)


def _best(ways: Sequence[Wants], room: Room, idle: Sequence[Idle]) -> Sequence[_Victim]:
    """Choose the way for which the fewest go, waking before starting, and of these the one of the longest idle."""
    choices = [
        (len(victims), not isinstance(way, frozenset), max(each.busy_at for each in victims), victims)
        for way in ways
        if (victims := _holders(way, room, idle) if isinstance(way, frozenset) else _fewest(way, room, idle))
    ]
    return min(choices, key=lambda choice: choice[:3])[3] if choices else ()


def _holders(wanted: frozenset[str], room: Room, idle: Sequence[Idle]) -> Sequence[_Victim]:
    """Find who has these GPUs, each of which one replica has; nobody if one of them does not have to go."""
    lacking = wanted - room.gpus
    holders = [
        [_Victim(each.model, name, each.busy_at, gpus) for name, gpus in each.replicas.items() if gpus & lacking]
        for each in idle
    ]
    if any(len(held) > each.may_go for held, each in zip(holders, idle, strict=True)):
        return ()
    victims = [victim for held in holders for victim in held]
    return victims if lacking <= {gpu for victim in victims for gpu in victim.gpus} else ()


def _fewest(wants: int, room: Room, idle: Sequence[Idle]) -> Sequence[_Victim]:
    """Choose the fewest replicas that have so many GPUs, or a slot, and of these the longest idle; nobody in vain."""
    short = room.short_of(wants)
    able = [
        victim
        for each in idle
        for name, gpus in list(each.replicas.items())[: each.may_go]
        if (victim := _Victim(each.model, name, each.busy_at, gpus)).gives(wants)
    ]

    def at_most(victims: Sequence[_Victim], number: int) -> int:
        return sum(sorted((each.gives(wants) for each in victims), reverse=True)[:number])

    number = next((number for number in range(1, len(able) + 1) if at_most(able, number) >= short), 0)
    chosen: list[_Victim] = []
    for at, victim in enumerate(able):
        others = number - len(chosen) - 1
        # One is taken if those that are idle for less time can give the rest.
        if others >= 0 and victim.gives(wants) + at_most(able[at + 1 :], others) >= short:
            chosen.append(victim)
            short -= victim.gives(wants)
    return chosen
