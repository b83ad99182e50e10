"""vLLM's sleep mode in the simulated engine: asleep it takes requests, and runs none of them until it is woken.

It answers as vLLM does with ``--enable-sleep-mode`` and ``VLLM_SERVER_DEV_MODE=1``, but for requests that run when it
is put to sleep: they go on to their end, where vLLM aborts them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qs

import msgspec

from loadtest.simulator.batch import Sequence as Running
from loadtest.simulator.engine_response import UnaryResponse
from loadtest.simulator.errors import UNREADABLE, EngineError

IS_SLEEPING = "/is_sleeping"
SLEEP = "/sleep"
WAKE_UP = "/wake_up"
COLLECTIVE_RPC = "/collective_rpc"

POST_PATHS = frozenset((SLEEP, WAKE_UP, COLLECTIVE_RPC))

_MEMORY = frozenset(("weights", "kv_cache"))
"""What gives up its memory, by the tags that wake it."""


class SequenceQueue(Protocol):
    """Where sequences wait and run."""

    def add(self, sequence: Running) -> None:
        """Run a sequence, or queue it."""

    def remove(self, sequence: Running) -> None:
        """Remove a sequence, whether it runs or waits."""


class _Call(msgspec.Struct):
    method: str


class SleepMode:
    """Whether an engine sleeps, and the queue before its ``batch``, in which all wait meanwhile.

    ``changed`` is called when another one waits, or one no longer.
    """

    def __init__(self, batch: SequenceQueue, changed: Callable[[], None]) -> None:
        self._batch = batch
        self._changed = changed
        self._asleep: frozenset[str] = frozenset()
        """The tags of what has given up its memory."""
        self._paused = False
        self._held: deque[Running] = deque()
        self._weights_lost = False
        """Whether it has slept at level 2 and has not read its weights again: vLLM would answer anything at all."""

    def __repr__(self) -> str:
        state = f"asleep: {', '.join(sorted(self._asleep)) or 'scheduling'}" if self._paused else "awake"
        lost = "; weights lost" if self._weights_lost else ""
        return f"<SleepMode [{state}{lost}; {len(self._held)} held]>"

    @property
    def held(self) -> int:
        """Sequences that wait for it to be woken."""
        return len(self._held)

    def add(self, sequence: Running) -> None:
        """Pass a sequence on to the batch, or hold it while the engine sleeps."""
        if self._paused:
            self._held.append(sequence)
            self._changed()
        else:
            self._batch.add(sequence)

    def remove(self, sequence: Running) -> None:
        """Let a sequence go, wherever it is."""
        if sequence in self._held:
            self._held.remove(sequence)
            self._changed()
        else:
            self._batch.remove(sequence)

    def is_sleeping(self) -> UnaryResponse:
        """Answer ``GET /is_sleeping``."""
        return UnaryResponse(msgspec.json.encode({"is_sleeping": self._paused}))

    def answer(self, path: str, query: str, body: bytes) -> UnaryResponse:
        """Sleep, wake up, or do what all workers are told."""
        asked = parse_qs(query)
        try:
            if path == SLEEP:
                said = self._sleep(asked.get("level", ["1"])[-1])
            elif path == WAKE_UP:
                said = self._wake_up(asked.get("tags"))
            else:
                said = self._call(body)
        except EngineError as error:
            return UnaryResponse(error.encode(), status=error.status)
        return UnaryResponse(msgspec.json.encode(said))

    def _sleep(self, level: str) -> object:
        if level not in ("0", "1", "2"):
            raise EngineError(f"Input should be from 0 to 2, not {level!r}", 400, param="level")
        self._paused = True
        if level != "0" and "weights" not in self._asleep:
            self._asleep = _MEMORY
            self._weights_lost = level == "2"
        return {"status": "sleeping", "level": int(level)}

    def _wake_up(self, tags: list[str] | None) -> object:
        named = _MEMORY if tags is None else frozenset(tags) - {"scheduling"}
        # As vLLM does, with a warning in its log: nothing is woken where one of the tags is awake.
        if tags is None or named <= self._asleep:
            self._asleep -= named
        if not self._asleep:
            self._paused = False
            while self._held:
                self._batch.add(self._held.popleft())
        return {"status": "sleeping" if self._asleep else "awake", "tags": tags}

    def _call(self, body: bytes) -> object:
        try:
            call = msgspec.json.decode(body, type=_Call)
        except UNREADABLE as error:
            raise EngineError(str(error), 400) from None
        if call.method != "reload_weights" or "weights" in self._asleep:
            raise EngineError.of_status(500)
        self._weights_lost = False
        return {"results": [None]}
