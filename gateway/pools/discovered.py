"""What a source of replicas told of a pool: which addresses, when, and what is wrong with it now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple


class Found(NamedTuple):
    """The replicas that a pool is to have, as its source tells it.

    ``urls`` are the addresses that are to get requests. ``spare`` are those that leave and can still be asked until one
    of ``urls`` is ready; ``None``: all that were there so far. A replica that is in neither drains at once.
    ``at_zero``: there is none that could get requests later either, as where an autoscaler has scaled to zero.
    """

    urls: tuple[str, ...]
    spare: Collection[str] | None = None
    at_zero: bool = False


@dataclass(eq=False, slots=True)
class Discovered:
    """What is known of the source of a pool's replicas.

    Only the process that asks the source writes here; the control plane's thread reads.
    """

    source: str
    """What is asked, in words: an option of ``[models.NAME.discover]`` and its value."""
    urls: tuple[str, ...] = ()
    """The addresses that it told last."""
    succeeded_at: float = 0.0
    """When it answered last, or was asked for the first time, as a ``perf_counter`` reading."""
    errors: int = 0
    trouble: str = ""
    """What is wrong with it now; nothing if it answered last time."""

    def age(self) -> float:
        """Tell how long ago it answered last, in seconds."""
        return max(0.0, perf_counter() - self.succeeded_at)
