"""How one data-plane process speaks to another without the parent: a word to wake it, or a connection handed over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence

_CONNECTION = b"\0"
"""What comes with a connection; any other word is the name of a model whose slots are to be looked for."""

_WORD_BYTES = 256
_READS = 64
"""So many messages are read at a time, so that other callbacks get their turn."""


def socket_pairs(processes: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """Make a socket for each process at which it is spoken to, and one for each through which the others do."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(processes)]
    for pair in pairs:
        for each in pair:
            each.setblocking(False)
    return [ear for ear, _ in pairs], [mouth for _, mouth in pairs]


class Datagrams:
    """What one process says to the others, and hears from them. Nothing here waits for another process."""

    def __init__(self, ear: socket.socket, mouths: Sequence[socket.socket]) -> None:
        self._ear = ear
        self._mouths = mouths

    def __repr__(self) -> str:
        return f"<Datagrams [{len(self._mouths)} processes]>"

    def wake(self, process: int, model: str) -> None:
        """Tell a process that a slot of a model may be free; one that is deaf for now looks at its next ticks."""
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self._mouths[process].send(model.encode())

    def hand_over(self, process: int, connection: socket.socket) -> bool:
        """Give a process a copy of a connection; return whether there was room."""
        try:
            socket.send_fds(self._mouths[process], [_CONNECTION], [connection.fileno()])
        except (BlockingIOError, ConnectionRefusedError):
            return False
        return True

    def listen(self, woken: Callable[[str], None], given: Callable[[socket.socket], None]) -> None:
        """Call ``woken`` and ``given`` from now on, on the running loop."""
        asyncio.get_running_loop().add_reader(self._ear, self._hear, woken, given)

    def close(self) -> None:
        """Hear nothing more."""
        asyncio.get_running_loop().remove_reader(self._ear)

    def _hear(self, woken: Callable[[str], None], given: Callable[[socket.socket], None]) -> None:
        models: dict[bytes, None] = {}
        for word, descriptors in words(self._ear):
            for descriptor in descriptors:
                given(socket.socket(fileno=descriptor))
            if word != _CONNECTION:
                models[word] = None
        for model in models:
            woken(model.decode())


def words(ear: socket.socket) -> Sequence[tuple[bytes, list[int]]]:
    """Read what was said so far, at most so much at a time."""
    heard: list[tuple[bytes, list[int]]] = []
    with contextlib.suppress(BlockingIOError):
        while len(heard) < _READS:
            word, descriptors, _, _ = socket.recv_fds(ear, _WORD_BYTES, 1)
            heard.append((word, descriptors))
    return heard


def discard_pending(ear: socket.socket) -> None:
    """Throw away what a dead process was told; connections that it was given are closed."""
    while heard := words(ear):
        for _, descriptors in heard:
            for descriptor in descriptors:
                os.close(descriptor)
