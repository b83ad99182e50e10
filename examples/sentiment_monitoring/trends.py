"""Whether the share of negative texts has jumped: the last texts of a topic against those before them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import sqrt


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alert begins and ends.

    The ``short`` last texts are compared with the ``long`` ones before them, once there are ``least`` of these. The
    windows are counted in texts and not in minutes: how sure one can be depends on how many texts there are.
    """

    short: int = 100
    long: int = 500
    least: int = 200
    raise_at: float = 3.5
    clear_at: float = 1.0


class Change(Enum):
    """What a text has done to a topic's alert."""

    RAISED = "raised"
    CLEARED = "cleared"


class Window:
    """The last texts, at most ``size`` of them, and how many of them are negative."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.negative = 0
        self._texts: deque[bool] = deque()

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return f"<Window {self.negative} of {len(self)} negative>"

    @property
    def share(self) -> float:
        """The share of negative texts, 0 to 1; 0 where there are none."""
        return self.negative / len(self._texts) if self._texts else 0.0

    def add(self, negative: bool) -> bool | None:
        """Take in a text; return the one that falls out, if there was no room."""
        self._texts.append(negative)
        self.negative += negative
        if len(self._texts) <= self.size:
            return None
        oldest = self._texts.popleft()
        self.negative -= oldest
        return oldest


class Trend:
    """The negative share of one topic, and whether it is on alert.

    The level before a jump is forgotten after ``long`` texts: a share that stays high becomes the usual one, and the
    alert ends.
    """

    def __init__(self, rule: Rule | None = None) -> None:
        self.rule = rule = rule or Rule()
        self.short, self.long = Window(rule.short), Window(rule.long)
        self.z = 0.0
        self.alert = False

    def __repr__(self) -> str:
        return f"<Trend {self.short.share:.0%} after {self.long.share:.0%}, z {self.z:.1f}, alert {self.alert}>"

    def add(self, negative: bool) -> Change | None:
        """Take in a text; return what it has changed."""
        earlier = self.short.add(negative)
        if earlier is not None:
            self.long.add(earlier)
        if len(self.long) < self.rule.least:
            return None
        self.z = z_score(self.short.negative, len(self.short), self.long.negative, len(self.long))
        if not self.alert and self.z >= self.rule.raise_at:
            self.alert = True
            return Change.RAISED
        if self.alert and self.z < self.rule.clear_at:
            self.alert = False
            return Change.CLEARED
        return None


def z_score(few: int, of_few: int, many: int, of_many: int) -> float:
    """Tell by how many standard errors one share, ``few / of_few``, is above another one.

    It is the test of two proportions with a pooled variance (NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.3).
    """
    pooled = (few + many) / (of_few + of_many)
    error = sqrt(pooled * (1 - pooled) * (1 / of_few + 1 / of_many))
    return (few / of_few - many / of_many) / error if error else 0.0
