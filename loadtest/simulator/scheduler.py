"""Continuous batching as vLLM v1 does it: every step serves the whole batch, and its cost is shared by all of it.

After ``vllm/v1/core/sched/scheduler.py``: a step has a budget of tokens. Running sequences come first, in their order;
what is left goes to waiting ones, whose prompts are read in chunks of what fits. When the KV cache is full, the
youngest running sequence gives its blocks back and waits at the head of the queue to be computed again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from loadtest.simulator.batch import Sequence
from loadtest.simulator.blocks import Blocks, hashes_of
from loadtest.simulator.profile import Profile

_LATE = 0.01
"""Steps follow each other without a gap unless the event loop is later than this, in seconds."""


class Scheduler:
    """The sequences that run and those that wait. ``changed`` is called after each change of their numbers."""

    def __init__(self, profile: Profile, changed: Callable[[], None]) -> None:
        self.profile = profile
        self.blocks = Blocks(profile.num_blocks, profile.block_size)
        self.queried_tokens = 0
        """Prompt tokens that were looked for in the prefix cache."""
        self.cached_tokens = 0
        """Prompt tokens that were found there."""
        self.preemptions = 0
        self._changed = changed
        self._arriving: dict[Sequence, asyncio.TimerHandle] = {}
        self._waiting: deque[_Progress] = deque()
        self._running: list[_Progress] = []
        self._all: dict[Sequence, _Progress] = {}
        self._step: list[tuple[_Progress, int]] = []
        self._timer: asyncio.Handle | None = None
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<Scheduler [{self.running} running, {self.waiting} waiting; {self.blocks!r}]>"

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
        """The share of the KV cache that is held (0 to 1)."""
        return self.blocks.usage

    def add(self, sequence: Sequence) -> None:
        """Take a sequence in, once its request has been read."""
        loop = asyncio.get_running_loop()
        self._arriving[sequence] = loop.call_later(self.profile.request, self._arrive, sequence)

    def remove(self, sequence: Sequence) -> None:
        """Let a sequence go, wherever it is. Leaving twice, or without having entered, changes nothing."""
        timer = self._arriving.pop(sequence, None)
        if timer is not None:
            timer.cancel()
        progress = self._all.get(sequence)
        if progress is not None:
            self._drop(progress)
            self._changed()

    # inside

    def _arrive(self, sequence: Sequence) -> None:
        del self._arriving[sequence]
        progress = self._all[sequence] = _Progress(sequence, self.profile)
        self._waiting.append(progress)
        if self._timer is None:
            # In a turn of its own, so that what arrives together is scheduled together.
            self._due = asyncio.get_running_loop().time()
            self._timer = asyncio.get_running_loop().call_soon(self._begin_step)
        self._changed()

    def _begin_step(self) -> None:
        loop = asyncio.get_running_loop()
        self._step = self._scheduled()
        self._changed()
        if not self._step:
            self._timer = None
            return
        now = loop.time()
        start = self._due if now - self._due < _LATE else now
        self._due = start + self._cost(self._step)
        self._timer = loop.call_at(self._due, self._end_step)

    def _end_step(self) -> None:
        step, self._step = self._step, []
        for progress, tokens in step:
            if progress.sequence not in self._all:
                continue
            progress.computed += tokens
            self._name_blocks(progress)
            if progress.computed == progress.known:
                self._produce(progress)
        self._begin_step()

    def _produce(self, progress: _Progress) -> None:
        sequence = progress.sequence
        progress.produced += 1
        last = progress.produced == sequence.work.output_tokens
        if last:
            # A finished sequence leaves at once, however slowly its client reads.
            self._drop(progress)
        if last or sequence.stepwise:
            sequence.produced(progress.produced)

    def _drop(self, progress: _Progress) -> None:
        del self._all[progress.sequence]
        if progress in self._running:
            self._running.remove(progress)
        else:
            self._waiting.remove(progress)
        self.blocks.release(progress.blocks)

    # what one step does

    def _scheduled(self) -> list[tuple[_Progress, int]]:
        """Decide which sequences the next step serves, and with how many tokens each."""
        budget = self.profile.max_num_batched_tokens
        step: list[tuple[_Progress, int]] = []
        before = self.preemptions
        while len(step) < len(self._running) and budget > 0:
            progress = self._running[len(step)]
            tokens = min(progress.known - progress.computed, budget)
            if not self._made_room(progress, progress.computed + tokens):
                break
            step.append((progress, tokens))
            budget -= tokens
        while self._waiting and self.preemptions == before and budget > 0:
            if len(self._running) == self.profile.max_num_seqs:
                break
            admitted = self._admitted(self._waiting[0], budget)
            if admitted is None:
                break
            step.append(admitted)
            budget -= admitted[1]
        return step

    def _made_room(self, progress: _Progress, tokens: int) -> bool:
        """Give a running sequence blocks for so many tokens, taking them from the youngest; false: it lost its own."""
        more = -(-tokens // self.profile.block_size) - len(progress.blocks)
        while (taken := self.blocks.take(max(0, more))) is None:
            victim = self._running.pop()
            self.preemptions += 1
            self.blocks.release(victim.blocks)
            victim.blocks = []
            victim.computed = 0
            self._waiting.appendleft(victim)
            if victim is progress:
                return False
        progress.blocks += taken
        return True

    def _admitted(self, progress: _Progress, budget: int) -> tuple[_Progress, int] | None:
        """Let the head of the queue run, with what the prefix cache has of it; ``None`` if there is no room."""
        size = self.profile.block_size
        # The last token is always computed: it is what the first one of the response comes from.
        known = self.blocks.known(progress.hashes[: (progress.known - 1) // size])
        cached = len(known) * size
        tokens = min(progress.known - cached, budget)
        blocks = self.blocks.take(-(-(cached + tokens) // size) - len(known), known)
        if blocks is None:
            return None
        work = progress.sequence.work
        if work.cached_tokens is None:
            work.cached_tokens = cached
            self.queried_tokens += work.prompt_tokens
            self.cached_tokens += cached
        self._waiting.popleft()
        self._running.append(progress)
        progress.blocks = blocks
        progress.computed = cached
        progress.named = len(known)
        return progress, tokens

    def _name_blocks(self, progress: _Progress) -> None:
        """Let others find the blocks of the prompt that are full now. Those of responses are not kept for others."""
        full = min(progress.computed // self.profile.block_size, len(progress.hashes))
        for at in range(progress.named, full):
            self.blocks.name(progress.blocks[at], progress.hashes[at])
        progress.named = max(progress.named, full)

    def _cost(self, step: list[tuple[_Progress, int]]) -> float:
        """Return how long a step takes, in seconds."""
        prefilled = decoding = attended = 0
        for progress, tokens in step:
            if progress.computed + 1 == progress.known and progress.produced:
                decoding += 1
            else:
                prefilled += tokens
            attended += tokens * progress.computed + tokens * tokens // 2
        profile = self.profile
        return (
            profile.step + profile.prefill_token * prefilled + profile.decode * decoding + profile.attended * attended
        )


class _Progress:
    """How far one sequence has come."""

    __slots__ = ("blocks", "computed", "hashes", "named", "produced", "prompt_tokens", "sequence")

    def __init__(self, sequence: Sequence, profile: Profile) -> None:
        self.sequence = sequence
        # The inputs of a pooling request are one sequence here. Where they are more than the cache holds together, they
        # are read as far as it goes: otherwise they would wait for ever, and all behind them.
        self.prompt_tokens = min(sequence.work.prompt_tokens, profile.capacity)
        self.hashes = hashes_of(sequence.work.prompt, profile.block_size)
        self.blocks: list[int] = []
        self.named = 0
        self.computed = 0
        self.produced = 0

    @property
    def known(self) -> int:
        """Tokens of the prompt and of the response so far."""
        return self.prompt_tokens + self.produced
