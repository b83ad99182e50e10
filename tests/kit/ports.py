"""A port for a program that must be told one, and cannot tell which it has chosen."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port of 127.0.0.1 that nobody else gets meanwhile, but who asks for just this one may listen on.

    It is bound and not listened on, which a server that sets ``SO_REUSEADDR`` does not mind, as they all do; the kernel
    gives it to no one who leaves the choice to it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
