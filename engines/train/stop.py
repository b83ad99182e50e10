"""SIGTERM: where a checkpoint can be made the training asks whether to stop, everywhere else it stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from engines.train.errors import Stopped


class StopSignal:
    """Whether the job was asked to stop. Outside ``deferred`` the request itself raises ``Stopped``."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def __repr__(self) -> str:
        return f"<StopSignal [{'requested' if self.requested else 'none'}]>"

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM for a request to stop."""
        before = signal.signal(signal.SIGTERM, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Raise nothing inside: what runs there looks at ``requested`` where it can stop."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.requested:
            raise Stopped

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            raise Stopped
