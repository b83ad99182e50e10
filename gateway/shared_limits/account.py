"""What this node has leased of one rate, and what it says of it to the others: decided here, without any clock."""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import exp, inf

from gateway.core.lease import Lease
from gateway.core.limits import Rate
from gateway.core.sliding_window import NANOSECONDS
from gateway.shared_limits.ledger import NANOSECONDS_PER_MICROSECOND, Answer, Entry, Usage

_AHEAD_SECONDS = 0.25
"""For how long a slice should last at the pace at which it is used: five exchanges."""

_PACE_SECONDS = 1.0
"""Over how long the pace is averaged."""

_HELD_SECONDS, _HELD_FROM_HUNGRY_SECONDS = 5.0, 0.5
"""How long a slice is kept that is not used, and how long while another node asks for more than is left. Where requests
come seldom it is kept for three times as long as it takes the next one to come: it would be gone each time."""

_LONGEST_GAP_SECONDS = 10.0

_HUNGRY_SECONDS = 2.5
"""How long a node counts as hungry after it has asked for more than is left; it asks again before that."""

_SOONEST_SECONDS, _LATEST_SECONDS = 0.05, 2.0
"""When to ask again for what was not left."""

_SAME_WINDOW_SECONDS = 1.0
"""Two windows that began no further apart than this are the same, told by two clocks."""


class Account:
    """One rate of one owner, as this node shares it.

    Times are nanoseconds of the clock that ``SlidingWindow`` is told.
    """

    def __init__(self, name: str, rate: Rate, lease: Lease, lock: AbstractContextManager[object]) -> None:
        self.name = name
        self._rate, self._lease, self._lock = rate, lease, lock
        self._usage: Usage | None = None
        """What was heard last of what all nodes have used."""
        self._seen = 0
        """What the lease had at the last look."""
        self._owed = 0
        """What was used beyond the lease, as far as it was said."""
        self._due: float = 0.0
        """When to look at it again, though nothing has been used."""
        self._ask_from = 0
        """When to ask again for what was not left."""
        self._resets, self._resets_said = 0, 0
        self._hungry = False
        """Whether another node asks for more than is left."""
        self._pace = 0.0
        self._gap = 0.0
        self._looked = self._used = 0

    def __repr__(self) -> str:
        return f"<Account of {self.name} {self._lease!r}>"

    def follow(self, rate: Rate, lease: Lease, lock: AbstractContextManager[object]) -> None:
        """Go on with the limit of another configuration."""
        self._rate, self._lease, self._lock = rate, lease, lock
        self._ask_from, self._due = 0, 0.0

    def reset(self) -> None:
        """Tell the others that it was cleared, which it is already."""
        self._resets += 1
        self._seen = self._owed = 0
        self._due = 0.0

    def stirred(self, now: int) -> bool:
        """Tell whether there may be something to say."""
        lease = self._lease
        return lease.credit[0] != self._seen or bool(lease.short[0]) or bool(lease.late[0]) or self._due <= now

    def entry(self, now: int, *, afresh: bool = False, leaving: bool = False) -> Entry | None:
        """Say what is owed, and ask for what will be needed; ``None`` if there is nothing to say.

        A node that begins ``afresh`` asks in any case, because it does not know what the others did meanwhile. One that
        is ``leaving`` gives everything back.
        """
        rate, lease = self._rate, self._lease
        with self._lock:
            credit, late, short = lease.credit[0], lease.late[0], lease.short[0]
            target = 0 if leaving else self._target(credit, short, now)
            charge = 0
            self._owed = max(0, -credit)
            if self._owed:
                # What has slid out of the window since Redis was heard last does not count any more.
                charge = min(self._owed, rate.window.current[0])
                late += min(self._owed - charge, rate.window.previous[0])
            elif credit > 2 * target:
                charge = target - credit
                lease.credit[0] = target
            lease.late[0] = lease.short[0] = 0
        held = self._seen = max(0, min(credit, credit + charge))
        want = need = 0
        if target > held and now >= self._ask_from:
            need = max(1, min(short or lease.amount[0], rate.limit) - held)
            want = max(need, target - held)
        self._due = self._ask_from if target > held and not want else self._held_until(held)
        reset, self._resets_said = self._resets_said < self._resets, self._resets
        if not (charge or late or want or reset or afresh or self._usage is None):
            return None
        return Entry(
            name=self.name,
            limit=rate.limit,
            length=rate.window.length // NANOSECONDS_PER_MICROSECOND,
            charge=charge,
            late=late,
            want=want,
            need=need,
            reset=reset,
            known=self._usage or (),
        )

    def settle(self, entry: Entry, answer: Answer, heard: int, now: int) -> None:
        """Take what was leased, and what all nodes have used; ``heard`` is when that was so, by Redis' clock."""
        credit = self._lease.credit
        with self._lock:
            if self._was_reset(answer) and not entry.reset:
                credit[0] = min(0, credit[0])
            credit[0] += self._owed + answer.leased
            self._owed = 0
            self._adopt(answer, heard, now)
        self._seen += answer.leased
        if entry.want and not answer.leased:
            self._ask_from = now + self._until_left(entry.need, now)
            self._due = self._ask_from
        elif answer.leased:
            self._due = self._held_until(self._seen)

    def hear(self, answer: Answer, heard: int, now: int) -> None:
        """Take what all nodes have used, as another one has changed it."""
        with self._lock:
            if self._was_reset(answer):
                self._lease.clear()
                self._seen = 0
            self._adopt(answer, heard, now)
        if self._ask_from > now:
            self._ask_from = min(self._ask_from, now + self._until_left(1, now))
            self._due = min(self._due, self._ask_from)
        if self._hungry:
            self._due = min(self._due, self._held_until(self._seen))

    def _target(self, credit: int, short: int, now: int) -> int:
        """Tell how large a slice should be, by how much was used lately."""
        seconds, self._looked = max(0, now - self._looked) / NANOSECONDS, now
        used = max(0, self._seen - credit)
        # A clock that has jumped back must not let a slice be kept for ever.
        self._used = min(self._used, now)
        self._pace = self._pace * exp(-seconds / _PACE_SECONDS) + used / _PACE_SECONDS
        if used or short:
            gap = (now - self._used) / NANOSECONDS
            self._gap = (self._gap + min(max(gap, 0.0), _LONGEST_GAP_SECONDS)) / 2
            self._used = now
        if now >= self._held_until(1):
            return 0
        amount = self._lease.amount[0]
        # A burst that has just begun is in no average yet: what came since the last look comes twice.
        return max(short, amount, 2 * used - amount, int(self._pace * _AHEAD_SECONDS))

    def _held_until(self, held: int) -> float:
        """Tell until when a slice is kept that is not used."""
        if not held:
            return inf
        seconds = max(_HELD_FROM_HUNGRY_SECONDS if self._hungry else _HELD_SECONDS, 3 * self._gap)
        return self._used + seconds * NANOSECONDS

    def _until_left(self, need: int, now: int) -> int:
        """Tell in how many nanoseconds to ask again for what was not left."""
        wait = self._rate.window.wait(need, self._rate.limit, now)
        return min(max(wait, int(_SOONEST_SECONDS * NANOSECONDS)), int(_LATEST_SECONDS * NANOSECONDS))

    def _was_reset(self, answer: Answer) -> bool:
        return self._usage is not None and answer.generation != self._usage.generation

    def _adopt(self, answer: Answer, heard: int, now: int) -> None:
        """Let the window show what all nodes have used, without what is leased to this one and not used."""
        self._usage = answer.usage
        self._hungry = answer.hungry_ago < _HUNGRY_SECONDS * NANOSECONDS / NANOSECONDS_PER_MICROSECOND
        window = self._rate.window
        began = now - (heard - answer.began) * NANOSECONDS_PER_MICROSECOND
        # Else a request would be settled in another window than it was counted in, by the time that an answer takes.
        if abs(began - window.began[0]) > _SAME_WINDOW_SECONDS * NANOSECONDS:
            window.began[0] = began
        window.current[0] = max(0, answer.current - self._lease.credit[0])
        window.previous[0] = answer.previous
