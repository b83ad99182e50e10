"""What a source of replicas does, whatever it looks at: it tells what it finds, or why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.pools.discovered import Found

Tell = Callable[[Found], None]
"""Takes over what a source has found."""


class SourceError(Exception):
    """A source cannot tell now which replicas there are, and why, as one line for people.

    The same trouble has the same text, so that the log can tell it once.
    """


class Source(Protocol):
    """A place that knows which replicas a pool has."""

    async def watch(self, tell: Tell) -> None:
        """Tell what there is, and again whenever that was looked at or has changed; for ever. Raises ``SourceError``.

        It may be called again after an error.
        """

    def pause(self, failures: int) -> float:
        """Say how long to wait, in seconds, before it is asked again after so many failures in a row."""
