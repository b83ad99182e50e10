"""When tokens are ready, in the simplest way: at a pace that tests can say, or at once.

First come first served into a batch of limited size; a prefill takes as long as every other, and each sequence gets its
tokens at a fixed pace, however many run. ``scheduler`` has the model of a real engine, behind the same calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How fast an engine is. All times in seconds."""

    ttft: float = 0.0
    """From a sequence's admission into the batch to its first token; a pooling request is done then."""

    inter_token: float = 0.0
    """From one token of a sequence to its next."""

    max_num_seqs: int = 256
    """Sequences in the batch at the same time; the rest wait, first come first served."""

    kv_cache_tokens: int = 131_072
    """Tokens for which there is room in the KV cache. Only reported (``vllm:kv_cache_usage_perc``), not enforced."""


@dataclass(slots=True)
class Work:
    """What a request costs: prompt tokens to read, and tokens to produce (at least 1)."""

    prompt_tokens: int
    output_tokens: int

    prompt: bytes | list[int] = b""
    """The prompt itself, as text or token ids, by which a prefix cache knows it."""

    cached_tokens: int | None = None
    """How many of its tokens a prefix cache had; ``None`` until it runs, or where no prefix cache is simulated."""


class Sequence(Protocol):
    """What runs in the batch."""

    work: Work
    stepwise: bool
    """Whether it wants each token as it is ready, instead of all of them at the end."""

    def produced(self, tokens: int) -> None:
        """Take note that so many of its tokens are ready; the last call says ``work.output_tokens``."""


class Batch:
    """The sequences that run and those that wait. ``changed`` is called after each change of their numbers."""

    def __init__(self, timing: Timing, changed: Callable[[], None]) -> None:
        self.timing = timing
        self._changed = changed
        self._running: dict[Sequence, _Progress] = {}
        self._waiting: deque[Sequence] = deque()

    def __repr__(self) -> str:
        return f"<Batch [{self.running} running, {self.waiting} waiting]>"

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that wait for a place in it."""
        return len(self._waiting)

    @property
    def kv_cache_usage(self) -> float:
        """The share of the KV cache that the running sequences hold (0 to 1)."""
        held = sum(sequence.work.prompt_tokens + progress.tokens for sequence, progress in self._running.items())
        return min(1.0, held / self.timing.kv_cache_tokens)

    def add(self, sequence: Sequence) -> None:
        """Take a sequence in, or queue it."""
        self._waiting.append(sequence)
        self._fill()

    def remove(self, sequence: Sequence) -> None:
        """Let a sequence go, wherever it is. Leaving twice, or without having entered, changes nothing."""
        progress = self._running.pop(sequence, None)
        if progress is not None:
            progress.cancel()
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        else:
            return
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.timing.max_num_seqs:
            sequence = self._waiting.popleft()
            progress = self._running[sequence] = _Progress(sequence)
            progress.start(self.timing)
        self._changed()


class _Progress:
    """How far one running sequence has come."""

    __slots__ = ("_inter_token", "_next_at", "_sequence", "_timer", "tokens")

    def __init__(self, sequence: Sequence) -> None:
        self.tokens = 0
        self._sequence = sequence
        self._inter_token = 0.0
        self._next_at = 0.0
        self._timer: asyncio.Handle | None = None

    def start(self, timing: Timing) -> None:
        loop = asyncio.get_running_loop()
        sequence = self._sequence
        last = sequence.work.output_tokens - 1
        self._inter_token = timing.inter_token
        if timing.ttft <= 0 and timing.inter_token <= 0:
            self._timer = loop.call_soon(self._finish)
        elif timing.inter_token <= 0 or not sequence.stepwise:
            self._timer = loop.call_later(timing.ttft + last * timing.inter_token, self._finish)
        else:
            self._next_at = loop.time() + timing.ttft
            self._timer = loop.call_at(self._next_at, self._step)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _finish(self) -> None:
        self.tokens = self._sequence.work.output_tokens
        self._sequence.produced(self.tokens)

    def _step(self) -> None:
        self.tokens += 1
        if self.tokens < self._sequence.work.output_tokens:
            self._next_at += self._inter_token
            self._timer = asyncio.get_running_loop().call_at(self._next_at, self._step)
        self._sequence.produced(self.tokens)
