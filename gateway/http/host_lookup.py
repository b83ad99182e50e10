"""Looks up the addresses of a host, so that no other host has to wait for it.

uvloop looks all names up on two threads of libuv's: two names whose server does not answer hold up every other one, and
with them connections to engines that are well. Here each host has a thread of its own while it is looked up.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_Answer = list[str] | OSError | UnicodeError


def addresses_of(host: str, port: int) -> list[str]:
    """Ask the system's resolver for the addresses of both families, and wait. Raises what ``getaddrinfo`` raises."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in answers]


class HostLookup:
    """Finds the addresses of one host. All who ask while it is looked up get the one answer.

    ``ask`` is called on the thread. It raises ``OSError`` where there are none, ``UnicodeError`` for what is no name.
    """

    def __init__(self, host: str, port: int, ask: Callable[[str, int], list[str]] = addresses_of) -> None:
        self._host = host
        self._port = port
        self._ask = ask
        self._asked: asyncio.Future[_Answer] | None = None

    def __repr__(self) -> str:
        return f"<HostLookup {self._host}>"

    async def addresses(self) -> list[str]:
        """Give the addresses, in the order in which they are to be tried. Raises ``OSError`` or ``UnicodeError``."""
        if self._asked is None or self._asked.done():
            loop = asyncio.get_running_loop()
            self._asked = loop.create_future()
            # Of a thread that waits for a name server nothing can be asked but that it keeps no process from ending.
            threading.Thread(target=self._look, args=(loop, self._asked), name="host-lookup", daemon=True).start()
        answer = await asyncio.shield(self._asked)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _look(self, loop: asyncio.AbstractEventLoop, asked: asyncio.Future[_Answer]) -> None:
        answer: _Answer
        try:
            answer = self._ask(self._host, self._port)
        except (OSError, UnicodeError) as error:
            answer = error
        with suppress(RuntimeError):  # The loop has ended meanwhile, and nobody waits.
            loop.call_soon_threadsafe(asked.set_result, answer)
