"""Says what is wrong with a source once, and not each time that it is asked."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

_REPEAT_SECONDS = 300.0
"""A line of the same kind is not said again before this."""


class Troubles:
    """The lines that are said of one ``subject``.

    A trouble that comes and goes with every look is said once in five minutes, and so is its end.
    """

    def __init__(self, subject: str, say: Callable[[str], None]) -> None:
        self._subject = subject
        self._say = say
        self._said: dict[str, float] = {}
        """When a line of each kind was said last."""
        self._unresolved = False

    def __repr__(self) -> str:
        return f"<Troubles of {self._subject} [{'unresolved' if self._unresolved else 'none'}]>"

    def begin(self, line: str, kind: str) -> None:
        """Say what is wrong until ``over`` is called."""
        if self.tell(line, kind):
            self._unresolved = True

    def over(self) -> None:
        """Say that all is well again, if it was said that it is not."""
        if self._unresolved:
            self._unresolved = False
            self._say(f"{self._subject}: works again")

    def tell(self, line: str, kind: str) -> bool:
        """Say a line, unless one of its kind was said a while ago; return whether it was said."""
        now = monotonic()
        self._said = {each: at for each, at in self._said.items() if now - at < _REPEAT_SECONDS}
        if kind in self._said:
            return False
        self._said[kind] = now
        self._say(f"{self._subject}: {line}")
        return True
