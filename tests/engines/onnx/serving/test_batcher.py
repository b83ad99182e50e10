"""Which texts run together and when, who is answered with what, and who pays for a failure: only its own request."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from engines.onnx.errors import InferenceFailed, Overloaded
from engines.onnx.model.tasks import Row, Rows
from engines.onnx.model.tokens import TokenIds
from engines.onnx.serving.batcher import Batcher
from tests.kit.eventually import PATIENCE

POISON = 666


class Batch:
    """A batch in its thread, which waits there until it is told to finish."""

    def __init__(self, texts: Sequence[TokenIds]) -> None:
        self.texts = [list(text) for text in texts]
        self._told = threading.Event()

    @property
    def lengths(self) -> list[int]:
        return [len(text) for text in self.texts]

    def finish(self) -> None:
        self._told.set()

    def wait(self) -> None:
        assert self._told.wait(PATIENCE), "nobody told the batch to finish"


class Machine:
    """Computes a row of each text's first token and length; a text with ``POISON`` fails. It is also the observer."""

    def __init__(self, *, held: bool) -> None:
        self.held = held
        self.waits: list[float] = []
        self.batches: list[tuple[int, int, int]] = []
        self.left = 0
        self.ended = 0
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Queue[Batch] = asyncio.Queue()
        self._running: list[Batch] = []

    def compute(self, texts: Sequence[TokenIds]) -> Rows:
        if self.held:
            batch = Batch(texts)
            self._running.append(batch)
            self._loop.call_soon_threadsafe(self._started.put_nowait, batch)
            batch.wait()
            self.ended += 1
        if any(POISON in text for text in texts):
            raise InferenceFailed(f"a batch of {len(texts)} failed")
        return np.array([[text[0], len(text)] for text in texts], np.float32)

    async def next(self) -> Batch:
        """Wait for the next batch that starts."""
        async with asyncio.timeout(PATIENCE):
            return await self._started.get()

    def release(self) -> None:
        """Let all batches finish, those to come too."""
        self.held = False
        for batch in self._running:
            batch.finish()

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def computed(self, texts: int, tokens: int, padded: int, seconds: float) -> None:
        assert seconds > 0
        self.batches.append((texts, tokens, padded))

    def dropped(self, texts: int) -> None:
        self.left += texts


@asynccontextmanager
async def batcher(
    *, threads: int = 1, room: int = 10_000, budget: int = 256, held: bool = True, rate: float = 100.0
) -> AsyncIterator[tuple[Batcher, Machine]]:
    machine = Machine(held=held)
    built = Batcher(machine.compute, machine, threads=threads, rate=rate, max_waiting_tokens=room, token_budget=budget)
    try:
        yield built, machine
    finally:
        machine.release()
        built.close()
        await asyncio.sleep(0)  # What is told to the observer comes after the answers.


def plain(rows: Sequence[Row]) -> list[list[float]]:
    return [row.tolist() for row in rows]


def text(length: int, first: int = 1) -> list[int]:
    return [first] * length


async def submitted(built: Batcher, *texts: list[int]) -> asyncio.Task[list[Row]]:
    """Submit a request and let it reach the queue."""
    task = asyncio.create_task(built.submit(texts))
    await asyncio.sleep(0)
    return task


async def test_a_lone_text_runs_at_once() -> None:
    async with batcher() as (built, machine):
        asked = await submitted(built, text(5, first=7))
        assert repr(built) == "<Batcher 1 of 1 threads running; 0 texts, 0 tokens waiting>"
        (await machine.next()).finish()
        assert plain(await asked) == [[7, 5]]
        assert repr(built) == "<Batcher 0 of 1 threads running; 0 texts, 0 tokens waiting>"


async def test_rows_come_in_the_order_of_their_texts() -> None:
    async with batcher(threads=2, held=False) as (built, machine):
        lengths = [3, 200, 7, 1, 90, 3, 260, 4]
        rows = await built.submit([text(length, first=index) for index, length in enumerate(lengths)])
        assert plain(rows) == [[index, length] for index, length in enumerate(lengths)]
    assert sum(texts for texts, _, _ in machine.batches) == len(lengths)


async def test_many_requests_at_once_get_their_own_rows() -> None:
    async with batcher(threads=2, held=False, room=100_000) as (built, _):
        requests = [[text(1 + (index * step) % 40, first=index) for step in range(5)] for index in range(200)]
        answers = await asyncio.gather(*map(built.submit, requests))
    for index, (texts, rows) in enumerate(zip(requests, answers, strict=True)):
        assert plain(rows) == [[index, len(each)] for each in texts]


async def test_a_request_is_shared_among_idle_threads() -> None:
    async with batcher(threads=2) as (built, machine):
        asked = await submitted(built, *[text(10)] * 4)
        batches = [await machine.next(), await machine.next()]
        assert [batch.lengths for batch in batches] == [[10, 10], [10, 10]]
        for batch in batches:
            batch.finish()
        await asked


async def test_texts_of_several_requests_that_wait_run_together() -> None:
    async with batcher() as (built, machine):
        first = await submitted(built, text(5))
        others = [await submitted(built, text(20, first=index)) for index in range(3)]
        assert repr(built) == "<Batcher 1 of 1 threads running; 3 texts, 60 tokens waiting>"
        (await machine.next()).finish()
        together = await machine.next()
        assert together.lengths == [20, 20, 20]
        together.finish()
        await first
        assert np.concatenate(await asyncio.gather(*others)).tolist() == [[0, 20], [1, 20], [2, 20]]


async def test_texts_of_very_different_lengths_do_not_run_together() -> None:
    async with batcher() as (built, machine):
        asked = await submitted(built, *map(text, (100, 50, 95, 10, 91, 89)))
        batches = []
        for _ in range(4):
            batches.append(await machine.next())
            batches[-1].finish()
        assert [batch.lengths for batch in batches] == [[100, 95], [91, 89], [50], [10]]
        await asked


async def test_a_batch_keeps_to_the_token_budget_with_its_padding() -> None:
    async with batcher(budget=64) as (built, machine):
        asked = await submitted(built, *map(text, (21, 22, 22, 20)))
        first = await machine.next()
        assert first.lengths == [22, 22]
        first.finish()
        second = await machine.next()
        assert second.lengths == [21, 20]
        second.finish()
        await asked
    assert machine.batches == [(2, 44, 44), (2, 41, 42)]


async def test_a_text_larger_than_the_token_budget_runs_alone() -> None:
    async with batcher(budget=64, held=False) as (built, machine):
        assert plain(await built.submit([text(500), text(500)])) == [[1, 500], [1, 500]]
    assert machine.batches == [(1, 500, 500), (1, 500, 500)]


async def test_a_small_request_does_not_wait_for_all_of_a_large_one() -> None:
    async with batcher(budget=64) as (built, machine):
        large = await submitted(built, *[text(60)] * 50)
        running = await machine.next()
        small = await submitted(built, text(3))
        running.finish()
        assert (await machine.next()).lengths == [3]
        machine.release()
        await asyncio.gather(large, small)


async def test_a_large_request_moves_on_although_small_ones_keep_coming() -> None:
    async with batcher(budget=64) as (built, machine):
        asked = [await submitted(built, *[text(60)] * 5), await submitted(built, text(30))]
        lengths = []
        for _ in range(40):
            batch = await machine.next()
            asked.append(await submitted(built, text(40)))
            lengths.append(batch.lengths[0])
            batch.finish()
        assert lengths.count(60) == 5
        machine.release()
        await asyncio.gather(*asked)


async def test_requests_of_equal_size_get_equal_shares() -> None:
    async with batcher(budget=64) as (built, machine):
        first = await submitted(built, *[text(50)] * 10)
        running = await machine.next()
        second = await submitted(built, *[text(60)] * 10)
        lengths = []
        for _ in range(10):
            running.finish()
            running = await machine.next()
            lengths += running.lengths
        assert sorted(lengths) == [50] * 5 + [60] * 5
        machine.release()
        await asyncio.gather(first, second)


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async with batcher(room=100, rate=10.0) as (built, machine):
        running = await submitted(built, text(5))
        waiting = await submitted(built, text(95))
        with pytest.raises(Overloaded) as raised:
            await built.submit([text(6)])
        assert raised.value.retry_after == 10
        assert raised.value.message == "The queue is full: 95 tokens wait, at most 100 may. Retry in 10 s."
        fits = await submitted(built, text(5))
        for _ in range(3):
            (await machine.next()).finish()
        await asyncio.gather(running, waiting, fits)


async def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async with batcher(room=100, held=False) as (built, _):
        assert len(await built.submit([text(50)] * 10)) == 10


async def test_a_request_larger_than_the_queue_leaves_the_queue_to_others() -> None:
    async with batcher(room=100, rate=100.0, budget=64) as (built, machine):
        large = await submitted(built, *[text(50)] * 10)
        running = await machine.next()
        # It needs five seconds; those who take turns with it do not wait for all of that.
        small = [await submitted(built, text(10)), asyncio.create_task(built.submit([text(10)], 1.0))]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="The queue is full: 470 tokens wait, at most 100 may"):
            await built.submit([text(81)])
        running.finish()
        assert (await machine.next()).lengths == [10, 10]
        machine.release()
        await asyncio.gather(large, *small)


async def test_a_second_request_larger_than_the_queue_is_refused_until_the_first_has_run() -> None:
    async with batcher(room=100, budget=64) as (built, machine):
        first = await submitted(built, *[text(50)] * 10)
        await machine.next()
        with pytest.raises(Overloaded):
            await built.submit([text(50)] * 3)
        machine.release()
        await first
        assert len(await built.submit([text(50)] * 3)) == 3


async def test_a_client_that_leaves_with_a_request_larger_than_the_queue_leaves_all_of_the_queue() -> None:
    async with batcher(room=100, budget=64) as (built, machine):
        large = await submitted(built, *[text(50)] * 10)
        await machine.next()
        large.cancel()
        await asyncio.wait([large])
        full = await submitted(built, text(60), text(40))
        with pytest.raises(Overloaded):
            await built.submit([text(1)])
        machine.release()
        await full


async def test_a_request_that_would_be_late_is_refused_at_once() -> None:
    async with batcher(rate=100.0) as (built, machine):
        running, waiting = await submitted(built, text(100)), await submitted(built, text(60))
        with pytest.raises(Overloaded) as raised:
            await built.submit([text(21)], 1.0)
        assert raised.value.message == ("What waits needs 0.8 s, too long for a request that has 1 s. Retry in 1 s.")
        assert raised.value.retry_after == 1
        with pytest.raises(Overloaded, match=r"needs 0\.6 s, too long for a request that has 0\.1 s"):
            built.check_room(within=0.1)
        fits = asyncio.create_task(built.submit([text(20)], 1.0))
        await asyncio.sleep(0)
        assert repr(built).endswith("2 texts, 80 tokens waiting>")
        machine.release()
        await asyncio.gather(running, waiting, fits)


async def test_the_time_of_the_batch_itself_counts_too() -> None:
    async with batcher(rate=1e6, held=False) as (built, machine):
        machine.held = True
        for _ in range(60):
            asked = await submitted(built, text(3))
            batch = await machine.next()
            await asyncio.sleep(0.005)
            batch.finish()
            await asked
        running, waiting = await submitted(built, text(3)), await submitted(built, text(3))
        with pytest.raises(Overloaded, match=r"too long for a request that has 0\.001 s"):
            built.check_room(within=0.001)
        built.check_room(within=60)
        machine.release()
        await asyncio.gather(running, waiting)


async def test_when_nothing_waits_even_a_hurried_request_is_tried() -> None:
    async with batcher(rate=1e-6, held=False) as (built, _):
        assert plain(await built.submit([text(3)], 10.0)) == [[1, 3]]


async def test_a_request_whose_time_is_over_costs_no_more() -> None:
    async with batcher(rate=1e6) as (built, machine):
        running = await submitted(built, text(5))
        hurried = asyncio.create_task(built.submit([text(7), text(7)], 0.01))
        with pytest.raises(Overloaded, match=r"^The request could not be done within its 0\.01 s\.$"):
            await hurried
        assert repr(built) == "<Batcher 1 of 1 threads running; 0 texts, 0 tokens waiting>"
        assert machine.left == 2
        (await machine.next()).finish()
        await running
    assert machine.batches == [(1, 5, 5)]


async def test_what_could_only_be_late_does_not_delay_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(step=7.9)
    monkeypatch.setattr("engines.onnx.serving.batcher.perf_counter", lambda: next(seconds))
    async with batcher(rate=1000.0, held=False, budget=1000) as (built, machine):
        for _ in range(60):
            await built.submit([text(1000)])
        machine.held = True
        running, hurried = await submitted(built, text(1000)), asyncio.create_task(built.submit([text(2)], 10.0))
        async with asyncio.timeout(5):
            with pytest.raises(Overloaded, match=r"^The request could not be done within its 10 s\.$"):
                await hurried
        machine.release()
        await running
    assert machine.batches[-1] == (1, 1000, 1000)


async def test_the_time_to_come_back_follows_the_measured_speed() -> None:
    async with batcher(room=100, held=False, rate=1e-6) as (built, machine):
        for _ in range(100):
            await built.submit([text(100)])
        machine.held = True
        running, waiting = await submitted(built, text(100)), await submitted(built, text(100))
        with pytest.raises(Overloaded) as raised:
            built.check_room()
        assert raised.value.retry_after == 1
        for _ in range(2):
            (await machine.next()).finish()
        await asyncio.gather(running, waiting)


async def test_whoever_leaves_takes_the_waiting_texts_along() -> None:
    async with batcher(budget=64) as (built, machine):
        leaving = await submitted(built, *[text(60)] * 5)
        staying = await submitted(built, text(60, first=2))
        running = await machine.next()
        leaving.cancel()
        await asyncio.wait([leaving])
        assert machine.left == 4
        assert repr(built) == "<Batcher 1 of 1 threads running; 1 texts, 60 tokens waiting>"
        running.finish()
        following = await machine.next()
        assert following.texts == [text(60, first=2)]
        following.finish()
        assert plain(await staying) == [[2, 60]]
    assert machine.batches == [(1, 60, 60), (1, 60, 60)]


async def test_whoever_leaves_while_all_is_running_drops_nothing() -> None:
    async with batcher() as (built, machine):
        leaving = await submitted(built, text(5))
        running = await machine.next()
        leaving.cancel()
        await asyncio.wait([leaving])
        running.finish()
        machine.release()
        assert plain(await built.submit([text(3)])) == [[1, 3]]
        assert machine.left == 0


async def test_a_batch_that_fails_fails_its_request() -> None:
    async with batcher(held=False) as (built, machine):
        with pytest.raises(InferenceFailed, match="a batch of 1 failed"):
            await built.submit([text(3, first=POISON)])
        assert repr(built) == "<Batcher 0 of 1 threads running; 0 texts, 0 tokens waiting>"
        assert plain(await built.submit([text(3)])) == [[1, 3]]
    assert machine.batches == [(1, 3, 3)]


async def test_neighbours_in_a_batch_that_fails_are_answered_all_the_same() -> None:
    async with batcher() as (built, machine):
        first = await submitted(built, text(20))
        good, bad, fine = [await submitted(built, text(5, first=number)) for number in (2, POISON, 3)]
        machine.release()
        assert plain(await first) == [[1, 20]]
        with pytest.raises(InferenceFailed, match="a batch of 1 failed"):
            await bad
        assert plain(await good) == [[2, 5]]
        assert plain(await fine) == [[3, 5]]


async def test_the_rest_of_a_request_that_failed_is_given_up_but_nobody_left() -> None:
    async with batcher(budget=64, held=False) as (built, machine):
        with pytest.raises(InferenceFailed):
            await built.submit([text(60, first=POISON), *[text(60)] * 50])
        assert repr(built).endswith("0 texts, 0 tokens waiting>")
        assert machine.left == 0


async def test_an_error_that_nobody_foresaw_reaches_the_request_too() -> None:
    def compute(texts: Sequence[TokenIds]) -> Rows:
        raise MemoryError("no room")

    built = Batcher(compute, Machine(held=False), threads=1, rate=1.0, max_waiting_tokens=10, token_budget=64)
    with pytest.raises(MemoryError, match="no room"):
        await built.submit([text(1), text(1)])
    built.close()


async def test_the_wait_of_each_request_is_noted_once() -> None:
    async with batcher(budget=64, held=False) as (built, machine):
        await asyncio.gather(built.submit([text(60)] * 3), built.submit([text(60)]))
    assert len(machine.waits) == 2
    assert min(machine.waits) >= 0


async def test_closing_waits_for_what_runs() -> None:
    async with batcher() as (built, machine):
        asked = await submitted(built, text(5))
        threading.Timer(0.05, (await machine.next()).finish).start()
        built.close()
        assert machine.ended == 1
        assert plain(await asked) == [[1, 5]]
