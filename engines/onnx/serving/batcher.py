"""Which texts run together, and when.

A request never waits for a timer: while a thread is idle its texts run at once, shared among all idle threads. When all
are busy, texts wait, and a thread that becomes free takes a batch. On a CPU padding is what a batch costs, so a batch
holds texts of nearly the same length, and no more of them than the token budget allows.

The next batch starts from the request whose turn it is by start-time fair queueing (Goyal, Vin, Cheng: "Start-time fair
queuing", SIGCOMM 1996), with tokens as the service: a request of 2,000 texts moves on between small ones and neither
starves the other. Each request is a flow of its own, and new ones start at the virtual time, which therefore grows with
what is served, as in WF2Q+ (Bennett, Zhang: "Hierarchical packet fair queueing algorithms", SIGCOMM 1996): otherwise
small requests that keep coming would hold it still. Texts of other requests fill the batch.

Everything but the computation itself happens on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Protocol

from engines.onnx.errors import InferenceFailed, Overloaded
from engines.onnx.model.tasks import EachRow, Row
from engines.onnx.model.tokens import TokenIds

Compute = Callable[[Sequence[TokenIds]], EachRow]
Outcome = Row | Exception
"""The row of one text, or why there is none."""

_SPREAD = 10
"""Texts of one batch are within a tenth of the length of its first."""

_SAFE_SHARE = 0.8
"""A request is taken if it should be done within this share of its time: what is expected may come later."""

_RATE_WEIGHT = 0.1
"""The weight of one batch in the moving averages of the speed and of its time."""


class Observer(Protocol):
    """Told what the batcher does; see ``metrics``."""

    def waited(self, seconds: float) -> None:
        """Note how long a request's first text waited."""

    def computed(self, texts: int, tokens: int, padded: int, seconds: float) -> None:
        """Note a batch: its texts, their own tokens, those with padding, and the time it took in its thread."""

    def dropped(self, texts: int) -> None:
        """Note texts that were given up before they ran, because their client left or their time was over."""


class _Request:
    """The texts of one request: those that wait, longest first, and the rows of those that are done."""

    __slots__ = ("arrived", "oversized", "result", "rows", "tag", "texts", "waiting")

    def __init__(
        self, texts: Sequence[TokenIds], tag: float, arrived: float, result: asyncio.Future[list[Row]]
    ) -> None:
        whole = [_Text(self, index, ids) for index, ids in enumerate(texts)]
        self.waiting = dict.fromkeys(sorted(whole, key=lambda text: -text.length))
        self.texts = len(whole)
        self.rows: dict[int, Row] = {}
        self.tag = tag
        self.arrived: float | None = arrived
        self.result = result
        self.oversized = False
        """Whether it alone is more than may wait."""

    def receive(self, index: int, row: Row) -> None:
        """Keep one row, and complete the request with the last."""
        self.rows[index] = row
        if len(self.rows) == self.texts and not self.result.done():
            self.result.set_result([self.rows[index] for index in range(self.texts)])

    def fail(self, error: BaseException) -> None:
        """Fail the request, unless it has ended already."""
        if not self.result.done():
            self.result.set_exception(error)


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    request: _Request
    index: int
    ids: TokenIds

    @property
    def length(self) -> int:
        return len(self.ids)


class Batcher:
    """Runs texts in ``threads`` threads and keeps at most ``max_waiting_tokens`` of them waiting.

    A batch has at most ``token_budget`` tokens, padding included, or one text; see ``budget``.

    ``rate`` is how many tokens a thread computes in a second, to begin with; it follows what is measured.
    """

    def __init__(
        self,
        compute: Compute,
        observer: Observer,
        *,
        threads: int,
        rate: float,
        max_waiting_tokens: int,
        token_budget: int,
    ) -> None:
        self._compute = compute
        self._observer = observer
        self._threads = threads
        self._idle = threads
        self._rate = rate
        self._batch_seconds = 0.0  # How long a batch takes, which every text waits for besides.
        self._max_waiting_tokens = max_waiting_tokens
        self._token_budget = token_budget
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._requests: dict[_Request, None] = {}
        self._by_length: dict[int, dict[_Text, None]] = {}
        self._virtual_time = 0.0
        self._served = 0.0  # What the last batch adds to the virtual time when the next is cut.
        self.waiting_tokens = 0
        """Tokens of the texts that wait for a thread."""
        self._oversized_tokens = 0
        """Those of them that belong to a request larger than the queue; there is one at most."""

    def __repr__(self) -> str:
        return (
            f"<Batcher {self.running} of {self._threads} threads running; "
            f"{self.waiting_texts} texts, {self.waiting_tokens} tokens waiting>"
        )

    @property
    def running(self) -> int:
        """How many batches run now."""
        return self._threads - self._idle

    @property
    def waiting_texts(self) -> int:
        """How many texts wait for a thread."""
        return sum(map(len, self._by_length.values()))

    def check_room(self, tokens: int = 1, within: float | None = None) -> None:
        """Raise ``Overloaded``, with the time to come back, if so many tokens more would wait too long.

        Too long is what the queue cannot hold, and what probably would not be done ``within`` so many seconds. When
        nothing waits there is room for any request, for else a very large one would never be served. What such a one
        has waiting does not count against others, which take turns with it and would else be refused until it is done.
        """
        if not self.waiting_tokens:
            return
        waiting = self.waiting_tokens - self._oversized_tokens
        ahead = waiting + min(tokens, self._oversized_tokens)
        wait = (ahead + tokens) / (self._rate * self._threads) + self._batch_seconds
        if waiting + tokens > self._max_waiting_tokens:
            seconds = max(1, ceil(self.waiting_tokens / (self._rate * self._threads)))
            raise Overloaded(
                f"The queue is full: {self.waiting_tokens} tokens wait, at most {self._max_waiting_tokens} may. "
                f"Retry in {seconds} s.",
                retry_after=seconds,
            )
        if within is not None and wait > within * _SAFE_SHARE:
            seconds = max(1, ceil(wait - within * _SAFE_SHARE))
            raise Overloaded(
                f"What waits needs {wait:.1f} s, too long for a request that has {within:g} s. Retry in {seconds} s.",
                retry_after=seconds,
            )

    async def submit(self, texts: Sequence[TokenIds], within: float | None = None) -> list[Row]:
        """Compute a row for each text, in their order.

        A caller that is cancelled takes its texts along that do not run yet. ``within`` is the caller's deadline, in
        seconds from the call: texts that still wait when a batch that began now would hardly end in time are dropped.
        Raises ``Overloaded`` for that and when there is no room, and the errors of computing one of these texts.
        """
        tokens = sum(map(len, texts))
        self.check_room(tokens, within)
        loop = asyncio.get_running_loop()
        request = _Request(texts, self._virtual_time, perf_counter(), loop.create_future())
        self._requests[request] = None
        for text in request.waiting:
            self._by_length.setdefault(text.length, {})[text] = None
        self.waiting_tokens += tokens
        if tokens > self._max_waiting_tokens:
            request.oversized = True
            self._oversized_tokens = tokens
        self._fill_threads()
        late = None
        if within is not None:
            # A text that is computed too late has only delayed the others.
            latest_start = within - self._batch_seconds / _SAFE_SHARE
            late = loop.call_later(max(0.0, latest_start), self._give_up, request, within)
        try:
            return await request.result
        except asyncio.CancelledError:
            if request.waiting:
                self._observer.dropped(len(request.waiting))
            raise
        finally:
            if late is not None:
                late.cancel()
            for text in list(request.waiting):
                self._take(text)

    def _give_up(self, request: _Request, within: float) -> None:
        """Fail a request that has texts waiting, when one that started now would not be done in its time any more."""
        if request.waiting:
            self._observer.dropped(len(request.waiting))
            request.fail(Overloaded(f"The request could not be done within its {within:g} s.", retry_after=1))

    def close(self) -> None:
        """End the threads after what they run now."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _fill_threads(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and self._requests:
            batch = self._cut()
            self._idle -= 1
            started = perf_counter()
            self._executor.submit(self._run, loop, batch, started)
            for text in batch:
                if text.request.arrived is not None:
                    self._observer.waited(started - text.request.arrived)
                    text.request.arrived = None

    def _run(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Text], started: float) -> None:
        """Compute a batch, in a thread, and tell the event loop."""
        try:
            outcomes: Sequence[Outcome] = self._outcomes([text.ids for text in batch])
        except Exception as error:  # noqa: BLE001 - every error belongs to the requests that wait for these rows
            outcomes = [error] * len(batch)
        loop.call_soon_threadsafe(self._finish, batch, started, outcomes)

    def _outcomes(self, texts: Sequence[TokenIds]) -> Sequence[Outcome]:
        """Compute texts. A batch that fails runs again text by text, so that only the culprit fails."""
        try:
            return list(self._compute(texts))
        except InferenceFailed as error:
            return [error] if len(texts) == 1 else [self._outcomes([text])[0] for text in texts]

    def _finish(self, batch: Sequence[_Text], started: float, outcomes: Sequence[Outcome]) -> None:
        seconds = perf_counter() - started
        self._idle += 1
        self._fill_threads()
        failed = False
        for text, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                text.request.fail(outcome)
                failed = True
            else:
                text.request.receive(text.index, outcome)
        if not failed:
            # The requests that wait for these rows go first.
            asyncio.get_running_loop().call_soon(self._measure, batch, seconds)

    def _measure(self, batch: Sequence[_Text], seconds: float) -> None:
        tokens, padded = sum(text.length for text in batch), len(batch) * max(text.length for text in batch)
        self._rate += _RATE_WEIGHT * (tokens / seconds - self._rate)
        self._batch_seconds += _RATE_WEIGHT * (seconds - self._batch_seconds)
        self._observer.computed(len(batch), tokens, padded, seconds)

    def _cut(self) -> list[_Text]:
        """Take a batch out of the queue: the text whose turn it is, and others that fit."""
        turn = min(self._requests, key=lambda request: request.tag)
        self._virtual_time = max(self._virtual_time + self._served, turn.tag)
        share = ceil(self.waiting_tokens / self._idle)
        first = next(iter(turn.waiting))
        batch: list[_Text] = []
        tokens = longest = 0
        for text in self._candidates(first):
            longest = max(longest, text.length)
            if batch and (tokens >= share or (len(batch) + 1) * longest > self._token_budget):
                break
            batch.append(text)
            tokens += text.length
        self._served = tokens / len(self._requests)
        for text in batch:
            self._take(text)
            text.request.tag += text.length
        return batch

    def _candidates(self, first: _Text) -> Iterator[_Text]:
        """Give the first text, all others of its length in the order they came, then the nearest lengths."""
        yield first
        for distance in range(max(1, first.length // _SPREAD) + 1):
            for length in dict.fromkeys((first.length - distance, first.length + distance)):
                yield from (text for text in self._by_length.get(length, ()) if text is not first)

    def _take(self, text: _Text) -> None:
        """Take a text out of the queue."""
        alike = self._by_length[text.length]
        del alike[text]
        if not alike:
            del self._by_length[text.length]
        del text.request.waiting[text]
        if not text.request.waiting:
            del self._requests[text.request]
        self.waiting_tokens -= text.length
        if text.request.oversized:
            self._oversized_tokens -= text.length
