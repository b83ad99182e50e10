"""How much was used within the last minute or day: the sliding window counter.

Two counters stand for a window that slides: what was used since the current fixed window began, and what was used in
the one before it, of which that part still counts which the sliding window covers (Cloudflare, "How we built rate
limiting capable of scaling to millions of domains", 2017). A fixed window begins with the first use after a pause
instead of at a full minute of the clock, so that never more than the limit is used within a window's length from there;
beyond a window's end, uses count as if they had been spread evenly over it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

NANOSECONDS = 1_000_000_000


class Cell(Protocol):
    """A number at index 0: of a list, or of a row that several processes share."""

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, value: int, /) -> None: ...


class WindowCells(NamedTuple):
    """The state of a window: when it began, in nanoseconds, and what was used in it and in the one before it."""

    began: Cell
    current: Cell
    previous: Cell


class SlidingWindow:
    """What was used within the last ``seconds``; what was used exactly so long ago no longer counts.

    It is changed while the lock of its owner is held. Times are nanoseconds of a clock that all who share the cells
    read; one that jumps back lets the current window begin anew, with what was used in it.
    """

    __slots__ = ("_two_lengths", "began", "current", "length", "previous")

    def __init__(self, seconds: int, cells: WindowCells) -> None:
        self.length = seconds * NANOSECONDS
        self._two_lengths = 2 * self.length
        self.began, self.current, self.previous = cells

    def __repr__(self) -> str:
        return f"<SlidingWindow of {self.length // NANOSECONDS} s [{self.current[0]} after {self.previous[0]}]>"

    def used(self, now: int) -> int:
        """Estimate what was used within the last window's length, and change nothing."""
        length, elapsed = self.length, max(0, now - self.began[0])
        if elapsed < length:
            return self.previous[0] * (length - elapsed - 1) // length + self.current[0]
        return self.current[0] * max(0, 2 * length - elapsed - 1) // length

    def advance(self, now: int) -> int:
        """Begin the next window if it is time, and return what is used."""
        began = self.began[0]
        current = self.current[0]
        previous = self.previous[0]
        length = self.length
        elapsed = now - began
        if 0 <= elapsed < length:
            if previous:
                return previous * (length - elapsed - 1) // length + current
            if current:
                return current
        if elapsed < 0 or not (current or previous):
            self.began[0] = now
            return previous + current
        # In this order, what a process leaves behind that is killed in between counts too much for a window, not too
        # little.
        follows = current > 0 and elapsed < 2 * length
        self.began[0] = began + length if follows else now
        self.previous[0] = current if follows else 0
        self.current[0] = 0
        return self.used(now)

    def settle(self, correction: int, added_at: int, now: int) -> Cell | None:
        """Correct by so much what was added at a moment, and return the cell that was changed.

        What is to be given back goes to the window of that moment; it is gone if the window is. What was used beyond
        the estimate counts in the window that it was added to, or in the current one.
        """
        began = self.began[0]
        if not (began <= added_at and now - began < self.length):
            self.advance(now)
            began = self.began[0]
        if added_at >= began:
            cell = self.current
        elif added_at + self.length >= began:
            cell = self.previous
        elif correction > 0:
            cell = self.current
        else:
            return None
        corrected = cell[0] + correction
        cell[0] = corrected if corrected > 0 else 0
        return cell

    def wait(self, amount: int, limit: int, now: int) -> int:
        """Tell in how many nanoseconds ``amount`` fits under ``limit``, if nothing is used until then; 0 if it does."""
        length, elapsed = self.length, max(0, now - self.began[0])
        if elapsed >= length:
            return _until(self.current[0], limit - amount, length, elapsed - length)
        room = limit - amount - self.current[0]
        if room >= 0:
            return _until(self.previous[0], room, length, elapsed)
        return length - elapsed + _until(self.current[0], limit - amount, length, 0)

    def reset(self, now: int) -> int:
        """Tell in how many nanoseconds nothing counts any more, if nothing is used until then."""
        used, end = self.current[0], self._two_lengths
        if not used:
            used, end = self.previous[0], self.length
            if not used:
                return 0
        # The last unit counts until its share of the window is less than one.
        end -= 1 + (self.length - 1) // used
        elapsed = now - self.began[0]
        if elapsed > 0:
            end -= elapsed
        return end if end > 0 else 0

    def clear(self) -> None:
        """Forget all that was used."""
        self.began[0] = self.current[0] = self.previous[0] = 0


def _until(used: int, room: int, length: int, elapsed: int) -> int:
    """Tell when what is left of ``used`` after ``elapsed`` of a window is no more than ``room``, from now."""
    if used <= room:
        return 0
    # The longest rest of the window in which used * rest // length is not more than room.
    longest = ((room + 1) * length - 1) // used
    return max(0, length - 1 - longest - elapsed)
