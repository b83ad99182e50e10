"""Deadlines of milliseconds among thousands of requests: a timer wheel that is turned only as far as it is filled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Generic, TypeVar

SLOT_SECONDS = 0.01
"""How wide a slot is: a member is visited at most this long after its moment, and never before."""

Member = TypeVar("Member")


class TimerWheel(Generic[Member]):
    """Visits each member soon after the moment it was filed under.

    Filing costs an append to the list of a slot, and nothing is ever taken out before its time: whoever visits looks
    whether the member still has a deadline. One timer of the loop waits for the next slot that is not empty. (Varghese
    and Lauck, "Hashed and hierarchical timing wheels", 1987.)
    """

    def __init__(self, visit: Callable[[Member, float], None]) -> None:
        self._visit = visit
        self._slots: dict[int, list[Member]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def __repr__(self) -> str:
        return f"<TimerWheel [{sum(map(len, self._slots.values()))} filed]>"

    def file(self, at: float, member: Member) -> None:
        """Have a member visited soon after ``at``, a ``perf_counter`` reading."""
        slot = int(at / SLOT_SECONDS) + 1
        members = self._slots.get(slot)
        if members is not None:
            members.append(member)
            return
        self._slots[slot] = [member]
        if self._timer is None or slot < self._next:
            self._wait_for(slot)

    def stop(self) -> None:
        """Visit nobody any more."""
        self._slots.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        delay = max(0.0, slot * SLOT_SECONDS - perf_counter())
        self._timer = asyncio.get_running_loop().call_later(delay, self._turn)

    def _turn(self) -> None:
        """Visit everyone whose slot has come, then wait for the next."""
        self._timer = None
        now = perf_counter()
        due = int(now / SLOT_SECONDS)
        for slot in sorted(slot for slot in self._slots if slot <= due):
            for member in self._slots.pop(slot):
                self._visit(member, now)
        if self._slots and self._timer is None:
            self._wait_for(min(self._slots))
