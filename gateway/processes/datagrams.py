"""How one data-plane process reaches another without the parent: to wake it, or to hand over a connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence

_CONNECTION = b"\0"
"""The datagram that comes with a connection; any other is the name of a pool that may have a free slot."""

_DATAGRAM_BYTES = 256
_READS = 64
"""So many datagrams are read at a time, so that other callbacks get their turn."""


def socket_pairs(processes: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """Make a socket for each process to receive at, and one for each through which the others send to it."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(processes)]
    for pair in pairs:
        for each in pair:
            each.setblocking(False)
    return [receiver for receiver, _ in pairs], [sender for _, sender in pairs]


class Datagrams:
    """What one process sends to the others and receives from them. Nothing here waits for another process."""

    def __init__(self, receiver: socket.socket, senders: Sequence[socket.socket]) -> None:
        self._receiver = receiver
        self._senders = senders

    def __repr__(self) -> str:
        return f"<Datagrams [{len(self._senders)} processes]>"

    def wake(self, process: int, pool: str) -> None:
        """Tell a process that a slot of a pool may be free; one that cannot be told finds it at its next ticks."""
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self._senders[process].send(pool.encode())

    def hand_over(self, process: int, connection: socket.socket) -> bool:
        """Give a process a copy of a connection; return whether there was room."""
        try:
            socket.send_fds(self._senders[process], [_CONNECTION], [connection.fileno()])
        except (BlockingIOError, ConnectionRefusedError):
            return False
        return True

    def listen(self, woken: Callable[[str], None], handed_over: Callable[[socket.socket], None]) -> None:
        """Call ``woken`` with the names of pools, and ``handed_over`` with connections, on the running loop."""
        asyncio.get_running_loop().add_reader(self._receiver, self._receive, woken, handed_over)

    def close(self) -> None:
        """Receive nothing more."""
        asyncio.get_running_loop().remove_reader(self._receiver)

    def _receive(self, woken: Callable[[str], None], handed_over: Callable[[socket.socket], None]) -> None:
        pools: dict[bytes, None] = {}
        for datagram, descriptors in pending(self._receiver):
            for descriptor in descriptors:
                handed_over(socket.socket(fileno=descriptor))
            if datagram != _CONNECTION:
                pools[datagram] = None
        for pool in pools:
            woken(pool.decode())


def pending(receiver: socket.socket) -> Sequence[tuple[bytes, list[int]]]:
    """Read the datagrams that have come so far, up to a number, each with the descriptors that came with it."""
    read: list[tuple[bytes, list[int]]] = []
    with contextlib.suppress(BlockingIOError):
        while len(read) < _READS:
            datagram, descriptors, _, _ = socket.recv_fds(receiver, _DATAGRAM_BYTES, 1)
            read.append((datagram, descriptors))
    return read


def discard_pending(receiver: socket.socket) -> None:
    """Throw away what was sent to a process that has ended; connections that were handed to it are closed."""
    while read := pending(receiver):
        for _, descriptors in read:
            for descriptor in descriptors:
                os.close(descriptor)
