"""What keys and groups have used in all processes, in rows that they share.

The state of a rate's window is in the first cells of three rows, which all processes write under the lock of the key or
of its group; it is kept when a process dies. Requests at once have a cell of each process, like any load.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from gateway.api.keyring import limited_owners
from gateway.config.gateway import GatewayConfig
from gateway.core.lease import Lease
from gateway.core.limits import RATES, InFlight, group_owner
from gateway.core.sliding_window import Cell, WindowCells
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_load import SharedLoad


def make_usage_rows(cells: Cells, config: GatewayConfig) -> list[str]:
    """Make the rows for all keys and groups that have limits, and name those that are new, in their order."""
    limits = limited_owners(config)
    kept = [_lock(owner) for owner in (*map(group_owner, config.groups), *limits)]
    for owner, given in limits.items():
        for rate in RATES:
            if getattr(given, rate) is not None:
                kept += _window(owner, rate)
                kept += _lease(owner, rate) if config.redis is not None else ()
    kept += [_SHARING] if config.redis is not None else []
    counted = [_in_flight(owner) for owner, given in limits.items() if given.max_in_flight is not None]
    return [
        *(name for name in kept if cells.make(name, kept=True)),
        *(name for name in counted if cells.make(name)),
    ]


class SharedUsage:
    """The ``UsageStore`` of one process, or of their parent, which takes no requests: its ``own`` may be any."""

    def __init__(self, cells: Cells, own: int) -> None:
        self._cells = cells
        self._own = own

    def __repr__(self) -> str:
        return f"<SharedUsage in {self._cells!r}>"

    def window(self, owner: str, rate: str) -> WindowCells:
        """Find the state of one of the ``RATES``."""
        return WindowCells(*map(self._cells.row, _window(owner, rate)))

    @property
    def sharing(self) -> Cell:
        """How many nodes share limits at this moment; 0 while this one counts by itself.

        Only where there is a Redis for that.
        """
        return self._cells.row(_SHARING)

    def lease(self, owner: str, rate: str) -> Lease:
        """Find what this node may use of one of the ``RATES`` that it shares with other nodes."""
        return Lease(self.sharing, *map(self._cells.row, _lease(owner, rate)))

    def in_flight(self, owner: str) -> InFlight:
        """Find the count of requests at once."""
        return SharedLoad(self._cells.row(_in_flight(owner)), self._own)

    def lock(self, owner: str) -> AbstractContextManager[object]:
        """Find the lock of a group, or of a key without one."""
        return self._cells.lock(_lock(owner))


_SHARING = "limits shared"


def _lock(owner: str) -> str:
    return f"{owner} lock"


def _window(owner: str, rate: str) -> tuple[str, str, str]:
    return f"{owner} {rate} began", f"{owner} {rate} current", f"{owner} {rate} previous"


def _lease(owner: str, rate: str) -> tuple[str, str, str, str]:
    return f"{owner} {rate} credit", f"{owner} {rate} amount", f"{owner} {rate} short", f"{owner} {rate} late"


def _in_flight(owner: str) -> str:
    return f"{owner} in flight"
