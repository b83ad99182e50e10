"""Tells a webhook of alerts from a thread of its own, so that one that hangs holds nothing up."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from threading import Event, Thread
from typing import Any

import httpx

TIMEOUT_SECONDS = 5.0
"""For each step of a try: to connect, to send, and for each piece of the answer."""

TRIES = 4
FIRST_PAUSE_SECONDS = 1.0
"""After the first failure; the pause doubles with each."""

WAITING = 100
"""Messages that may wait for those before them; further ones are lost at once."""

_RETRIED = {408, 429, 500, 502, 503, 504}

Message = Mapping[str, Any]


class Webhook:
    """Posts messages as JSON, one after the other; what ``TRIES`` tries could not deliver is told on stderr.

    ``ended`` is called with ``delivered`` or ``lost`` for each message, from a thread.
    """

    def __init__(self, url: str, ended: Callable[[str], None], first_pause: float = FIRST_PAUSE_SECONDS) -> None:
        self.url = url
        self._ended = ended
        self._first_pause = first_pause
        self._numbers = count()
        self._unfinished: dict[int, Message] = {}
        self._waiting: queue.Queue[int | None] = queue.Queue(WAITING)
        self._stopped = Event()
        self._thread = Thread(target=self._post_all, name="webhook", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Webhook {self.url}, {len(self._unfinished)} unfinished>"

    def send(self, message: Message) -> None:
        """Have a message delivered, some time later; return at once."""
        number = next(self._numbers)
        self._unfinished[number] = message
        try:
            self._waiting.put_nowait(number)
        except queue.Full:
            self._finish(number, f"{WAITING} others wait")

    def close(self, within: float) -> None:
        """Wait so many seconds for what is still to be delivered; the rest is lost."""
        deadline = time.monotonic() + within
        with suppress(queue.Full):
            self._waiting.put(None, timeout=within)
            self._thread.join(max(0.0, deadline - time.monotonic()))
        self._stopped.set()
        for number in list(self._unfinished):
            self._finish(number, "there was no more time")

    def _post_all(self) -> None:
        with httpx.Client(timeout=TIMEOUT_SECONDS) as http:
            while (number := self._waiting.get()) is not None and not self._stopped.is_set():
                if message := self._unfinished.get(number):
                    self._finish(number, self._post(http, message))

    def _post(self, http: httpx.Client, message: Message) -> str:
        """Try until it is delivered; return why it is not, or nothing."""
        problem = ""
        for tried in range(TRIES):
            if tried and self._stopped.wait(self._first_pause * 2 ** (tried - 1)):
                break
            try:
                status = http.post(self.url, json=message).status_code
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__} {error}".strip()
                continue
            if 200 <= status < 300:
                return ""
            problem = f"status {status}"
            if status not in _RETRIED:
                break
        return problem

    def _finish(self, number: int, problem: str) -> None:
        """Report the end of a message once: the thread and ``close`` may both want to."""
        message = self._unfinished.pop(number, None)
        if message is None:
            return
        if problem:
            print(f"not delivered to {self.url} ({problem}): {dict(message)}", file=sys.stderr, flush=True)
        self._ended("lost" if problem else "delivered")
