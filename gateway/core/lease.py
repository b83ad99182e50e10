"""What a node may use of a limit that it shares with others, without asking anyone.

Requests never wait for what the nodes share. A node fetches a slice of a limit ahead, in the background, and counts
what is used against that, as clients of Doorman (YouTube's distributed rate limiter) lease capacity. What is used
beyond it is a debt, which is paid at the next exchange.
"""

from __future__ import annotations

from gateway.core.sliding_window import Cell


class Lease:
    """The slice of one rate of one owner that this node holds, in requests or tokens.

    Each of its numbers is a cell, which all processes of the node write under the lock of the owner. ``sharing`` is how
    many nodes exchange what they have used; while it is 0, the limit holds for this node by itself.
    """

    __slots__ = ("amount", "credit", "late", "sharing", "short")

    def __init__(self, sharing: Cell, credit: Cell, amount: Cell, short: Cell, late: Cell) -> None:
        self.sharing = sharing
        self.credit = credit
        """What may still be used; below zero, what was used beyond that."""
        self.amount = amount
        """What the latest request that was admitted took."""
        self.short = short
        """What the latest request asked for that was refused since the last exchange; 0 if none was."""
        self.late = late
        """By how much to correct what was used in the window before the current one."""

    def __repr__(self) -> str:
        return f"<Lease [{self.credit[0]} left]>"

    def covers(self, amount: int, *, used: int, limit: int) -> bool:
        """Tell whether so much may be used, where so much of the limit is used as far as this node knows.

        A node that begins to use a limit has no slice yet. So each of N nodes may use it on trust until an N-th of it
        is used; from then on each request needs to be covered, so that what all nodes use together is exact.
        """
        return self.credit[0] >= amount or used * self.sharing[0] < limit

    def use(self, amount: int) -> None:
        """Take so much."""
        self.credit[0] -= amount
        self.amount[0] = amount

    def refused(self, amount: int) -> None:
        """Note that so much was asked for and is not there."""
        self.short[0] = amount

    def settle(self, correction: int, *, in_current: bool) -> None:
        """Correct by so much what was used in the current window, or in the one before it."""
        if in_current:
            self.credit[0] -= correction
        else:
            self.late[0] += correction

    def clear(self) -> None:
        """Hold nothing, and owe nothing."""
        self.credit[0] = self.short[0] = self.late[0] = 0
