"""Sockets in memory: a transport that a test reads and feeds by itself, with the rules of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

_TURNS = 10_000
"""Turns of the loop after which something that has not happened is taken never to happen."""


class MemoryTransport(asyncio.Transport):
    """One end of a connection. What its protocol writes is kept; what the peer says is fed to it in pieces.

    ``unread`` bytes of what was written count as not yet read by the peer: a test sets it to be a slow reader.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = bytearray()
        self.ended = False
        self.aborted = False
        self.unread = 0
        self._closing = False
        self._paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.ended:
            raise RuntimeError("written after the end")
        if not self._closing:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        assert not self._paused
        self._paused = True

    def resume_reading(self) -> None:
        assert self._paused
        self._paused = False

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        self.aborted = True
        self.lose(None)

    def lose(self, error: Exception | None) -> None:
        """Close, and tell the protocol in a turn of its own, as real transports do."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)

    async def receive(self, pieces: Iterable[bytes]) -> None:
        """Feed what the peer says, a piece each turn, as far as it is still read."""
        for piece in pieces:
            await until(lambda: not self._paused or self._closing)
            if self._closing:
                return
            self.protocol.data_received(piece)
            await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Give the loop turns until the condition holds. Raises ``AssertionError`` if it never does."""
    for _ in range(_TURNS):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("this hangs")
