"""The limits of a key and of its group: requests and tokens per minute and per day, and requests at once.

A request is admitted if it fits under all of them, and then counts in all of them; both happen under one lock, which
the keys of a group have in common. Tokens are reserved from an estimate, and settled by what was used when the request
is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from typing import Protocol

import msgspec

from gateway.core.errors import LimitExceeded
from gateway.core.lease import Lease
from gateway.core.sliding_window import NANOSECONDS, Cell, SlidingWindow, WindowCells

REQUESTS, TOKENS = "requests", "tokens"

RATES = {
    "requests_per_minute": (REQUESTS, 60),
    "requests_per_day": (REQUESTS, 86_400),
    "tokens_per_minute": (TOKENS, 60),
    "tokens_per_day": (TOKENS, 86_400),
}
"""What each limit of a rate counts, and the length of its window in seconds."""

_LEASE_SECONDS = 0.2
"""When to come back for what the other nodes have to be asked for first."""

_COME_BACK_SECONDS = 1.0
"""When to come back for a place among the requests at once, whose end nobody knows."""


def key_owner(name: str) -> str:
    """Name a key as an owner of limits, for messages and for what is kept of its usage."""
    return f"key {name!r}"


def group_owner(name: str) -> str:
    """Name a group as an owner of limits."""
    return f"group {name!r}"


class InFlight(Protocol):
    """Counts requests at once."""

    @property
    def in_flight(self) -> int:
        """How many there are, in all processes."""

    def entered(self) -> None:
        """Count one in."""

    def left(self) -> None:
        """Count one out."""


class UsageStore(Protocol):
    """Keeps what owners of limits have used, by their names, also when a reload changes the limits."""

    def window(self, owner: str, rate: str) -> WindowCells:
        """Give the state of one of the ``RATES``."""

    @property
    def sharing(self) -> Cell:
        """How many nodes share limits at this moment; 0 while this one counts by itself."""

    def lease(self, owner: str, rate: str) -> Lease:
        """Give what this node may use of one of the ``RATES`` that it shares with other nodes."""

    def in_flight(self, owner: str) -> InFlight:
        """Give the count of requests at once."""

    def lock(self, owner: str) -> AbstractContextManager[object] | None:
        """Give the lock under which the usage of a group's keys is changed; ``None`` where one thread alone does."""


class Rate:
    """So many requests or tokens within a minute or a day, and what was used of them.

    Where several nodes share it, ``lease`` is what this one may use without asking the others.
    """

    __slots__ = (
        "_lines",
        "_lines_of",
        "_template",
        "anthropic_headers",
        "lease",
        "limit",
        "name",
        "per_request",
        "unit",
        "window",
    )

    def __init__(self, name: str, limit: int, cells: WindowCells, lease: Lease | None = None) -> None:
        self.name = name
        self.limit = limit
        self.lease = lease
        self.unit, seconds = RATES[name]
        self.per_request = self.unit == REQUESTS
        self._template = (
            f"x-ratelimit-limit-{self.unit}: {limit}\r\nx-ratelimit-remaining-{self.unit}: %%d\r\n"
            f"x-ratelimit-reset-{self.unit}: %b\r\n"
        ).encode()
        self._lines, self._lines_of = b"", -1
        """The template with the time until nothing counts filled in, and that time in seconds."""
        self.anthropic_headers = (
            f"anthropic-ratelimit-{self.unit}-limit: {limit}\r\nanthropic-ratelimit-{self.unit}-remaining: %d\r\n"
            f"anthropic-ratelimit-{self.unit}-reset: %b\r\n"
        ).encode()
        """Anthropic's lines, to be filled in with what is left, and with the moment from which nothing counts."""
        self.window = SlidingWindow(seconds, cells)

    def __repr__(self) -> str:
        return f"<Rate {self.name} {self.limit} {self.window!r}>"

    def lines(self, left: int, now: int) -> bytes:
        """Write OpenAI's lines for a response: so much is left, and when nothing counts any more."""
        seconds = -(-self.window.reset(now) // NANOSECONDS)
        if seconds != self._lines_of:
            self._lines, self._lines_of = self._template % whole_duration(seconds).encode(), seconds
        return self._lines % left

    def clear(self) -> None:
        """Forget what was used."""
        self.window.clear()
        if self.lease is not None:
            self.lease.clear()


class Quota:
    """The limits of one key or of one group; ``owner`` says whose, as messages name it.

    Requests at once are counted where they are limited.
    """

    def __init__(
        self, owner: str, rates: Iterable[Rate], max_in_flight: int | None = None, counted: InFlight | None = None
    ) -> None:
        self.owner = owner
        self.rates = tuple(rates)
        self.max_in_flight = max_in_flight
        self.counted = counted

    def __repr__(self) -> str:
        return f"<Quota of {self.owner} {list(self.rates)}>"

    @property
    def in_flight(self) -> int:
        """How many requests there are at once, as far as they are counted."""
        return 0 if self.counted is None else self.counted.in_flight

    def clear(self) -> None:
        """Forget what was used of the rates; requests under way stay counted."""
        for rate in self.rates:
            rate.clear()


Left = tuple[int, Rate]
"""What is left of a rate. A plain tuple, because each request of a key with limits makes some."""


class KeyLimits:
    """The limits that hold for the requests of one key: its own and those of its group, under one lock.

    Without a lock, one thread alone counts. Times are nanoseconds of the clock that ``SlidingWindow`` is told.
    """

    def __init__(self, quotas: Sequence[Quota], lock: AbstractContextManager[object] | None) -> None:
        self.quotas = tuple(quotas)
        self.lock = nullcontext() if lock is None else lock
        self._alone = lock is None
        self._rates = [rate for quota in quotas for rate in quota.rates]
        self._of_requests = [rate for rate in self._rates if rate.per_request]
        self._of_tokens = [rate for rate in self._rates if not rate.per_request]
        self._leased = [(rate, rate.lease) for rate in self._rates if rate.lease is not None]
        self._counted = [
            (quota, quota.counted, quota.max_in_flight)
            for quota in quotas
            if quota.counted is not None and quota.max_in_flight is not None
        ]

    def __repr__(self) -> str:
        return f"<KeyLimits {list(self.quotas)}>"

    def admit(self, prompt: int, generated: int, now: int) -> tuple[Reservation, Left | None, Left | None]:
        """Count a request with estimates of its tokens; give what it has reserved, and what is least left of each unit.

        Raises ``LimitExceeded``, and counts nothing then.
        """
        if self._alone:
            return self._admit(prompt, generated, now)
        with self.lock:
            return self._admit(prompt, generated, now)

    def left(self, now: int) -> Sequence[Left]:
        """Tell what is left of each rate."""
        return [(max(0, rate.limit - rate.window.used(now)), rate) for rate in self._rates]

    def clear(self, owner: str) -> None:
        """Forget what was used of the rates of one owner."""
        with self.lock:
            for quota in self.quotas:
                if quota.owner == owner:
                    quota.clear()

    def settle(self, reservation: Reservation, tokens: int, now: int) -> None:
        """Count the tokens that were used in the place of those reserved, and the request out.

        The second time for the same reservation does nothing.
        """
        if reservation.settled:
            return
        reservation.settled = True
        correction = tokens - reservation.tokens
        if correction and self._of_tokens:
            if self._alone:
                self._correct(correction, reservation.made_at, now)
            else:
                with self.lock:
                    self._correct(correction, reservation.made_at, now)
        for _, counted, _ in self._counted:
            counted.left()

    def _admit(self, prompt: int, generated: int, now: int) -> tuple[Reservation, Left | None, Left | None]:
        tokens = prompt + generated
        requests_left = self._least_left(self._of_requests, 1, now)
        tokens_left = self._least_left(self._of_tokens, tokens, now)
        if self._leased:
            self._check_leases(tokens, now)
        if self._counted:
            self._check_in_flight()
        for rate in self._of_requests:
            rate.window.current[0] += 1
        for rate in self._of_tokens:
            rate.window.current[0] += tokens
        if self._leased:
            self._use_leases(tokens)
        for _, counted, _ in self._counted:
            counted.entered()
        return Reservation(self, prompt, tokens, now), requests_left, tokens_left

    def _least_left(self, rates: Iterable[Rate], amount: int, now: int) -> Left | None:
        """Give the rate of which the least is left after ``amount`` more. Raises ``LimitExceeded``."""
        least: Left | None = None
        for rate in rates:
            left = rate.limit - rate.window.advance(now) - amount
            if left < 0:
                raise self._exceeded(rate, amount, now)
            if least is None or left < least[0]:
                least = left, rate
        return least

    def _correct(self, correction: int, made_at: int, now: int) -> None:
        for rate in self._of_tokens:
            cell = rate.window.settle(correction, made_at, now)
            if rate.lease is not None and cell is not None:
                rate.lease.settle(correction, in_current=cell is rate.window.current)

    def _check_leases(self, tokens: int, now: int) -> None:
        """Refuse what fits under a limit as far as this node knows, but not under what it may use of it unasked."""
        for rate, lease in self._leased:
            amount = 1 if rate.per_request else tokens
            if not lease.covers(amount, used=rate.window.used(now), limit=rate.limit):
                raise self._exceeded(rate, amount, now)

    def _use_leases(self, tokens: int) -> None:
        for rate, lease in self._leased:
            lease.use(1 if rate.per_request else tokens)

    def _check_in_flight(self) -> None:
        for quota, counted, most in self._counted:
            if counted.in_flight >= most:
                raise _too_many_at_once(quota, most)

    def _exceeded(self, rate: Rate, amount: int, now: int) -> LimitExceeded:
        """Note in a shared rate that so much was asked for, and give the error that says what was exceeded."""
        if rate.lease is not None:
            rate.lease.refused(amount)
        owner = next(quota.owner for quota in self.quotas if rate in quota.rates)
        return _exceeded(owner, rate, amount, now)


class Reservation(msgspec.Struct, eq=False, gc=False):
    """What one request holds of its key's limits until ``limits`` has settled it."""

    limits: KeyLimits
    prompt: int
    """How many tokens were estimated for the prompt."""
    tokens: int
    """How many tokens were reserved."""
    made_at: int
    """When it was made, which says in which window of each rate the request counts."""
    settled: bool = False


class LocalInFlight:
    """The requests at once of one owner, where one process takes all of them."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<LocalInFlight [{self.in_flight}]>"

    def entered(self) -> None:
        """Count one in."""
        self.in_flight += 1

    def left(self) -> None:
        """Count one out."""
        self.in_flight -= 1


class LocalUsage:
    """The ``UsageStore`` of a process that takes all requests by itself."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], WindowCells] = {}
        self._leases: dict[tuple[str, str], Lease] = {}
        self.sharing: Cell = [0]
        """How many nodes share limits at this moment; 0 while this one counts by itself."""
        self._in_flight: dict[str, LocalInFlight] = {}

    def __repr__(self) -> str:
        return f"<LocalUsage [{len(self._windows)} windows]>"

    def window(self, owner: str, rate: str) -> WindowCells:
        """Give the state of one of the ``RATES``."""
        return self._windows.setdefault((owner, rate), WindowCells([0], [0], [0]))

    def lease(self, owner: str, rate: str) -> Lease:
        """Give what this node may use of one of the ``RATES`` that it shares with other nodes."""
        return self._leases.setdefault((owner, rate), Lease(self.sharing, [0], [0], [0], [0]))

    def in_flight(self, owner: str) -> InFlight:
        """Give the count of requests at once."""
        return self._in_flight.setdefault(owner, LocalInFlight())

    def lock(self, _owner: str) -> AbstractContextManager[object] | None:
        """Give none: one thread alone takes all requests, and carries out what operators command."""
        return None


def _exceeded(owner: str, rate: Rate, amount: int, now: int) -> LimitExceeded:
    """Say which limit a request does not fit under, how much of it is used, and when to come again."""
    window, limit = rate.window, rate.limit
    words = rate.name.replace("_per_", " per ")
    said = f"Limit {limit}, Used {window.used(now)}, Requested {amount}."
    if amount > limit:
        message = f"The request is too large for {owner} on {words}: {said} Ask for fewer tokens."
        return LimitExceeded(message, reason=rate.name, kind=rate.unit, retry_after=None)
    # Where it fits as far as this node knows, a lease is on its way.
    wait = window.wait(amount, limit, now) / NANOSECONDS or _LEASE_SECONDS
    message = f"Rate limit reached for {owner} on {words}: {said} Please try again in {duration(wait)}."
    return LimitExceeded(message, reason=rate.name, kind=rate.unit, retry_after=wait)


def _too_many_at_once(quota: Quota, most: int) -> LimitExceeded:
    return LimitExceeded(
        f"Rate limit reached for {quota.owner} on requests at once: Limit {most}, Used {quota.in_flight}. "
        "Please try again when one of them is over.",
        reason="max_in_flight",
        kind=REQUESTS,
        retry_after=_COME_BACK_SECONDS,
    )


def duration(seconds: float) -> str:
    """Write a time as OpenAI does: ``20ms``, ``1s``, ``6m0s``, ``23h59m59s``; rounded up."""
    milliseconds = ceil(seconds * 1000)
    return f"{milliseconds}ms" if 0 < milliseconds < 1000 else whole_duration(ceil(seconds))


def whole_duration(seconds: int) -> str:
    """Write a time of whole seconds as OpenAI does."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
