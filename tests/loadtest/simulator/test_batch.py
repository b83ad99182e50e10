"""When tokens are ready, and who waits for whom."""

import asyncio

import pytest

from loadtest.simulator.batch import Batch, Timing, Work


class Recorded:
    """A sequence that remembers what it was told."""

    def __init__(self, tokens: int = 1, prompt: int = 10, *, stepwise: bool = True) -> None:
        self.work = Work(prompt, tokens)
        self.stepwise = stepwise
        self.told: list[int] = []
        self.done = asyncio.Event()

    def produced(self, tokens: int) -> None:
        self.told.append(tokens)
        if tokens == self.work.output_tokens:
            self.done.set()


def ignore() -> None:
    """Take no notice of changes."""


FOREVER = Timing(ttft=3600, max_num_seqs=2, kv_cache_tokens=100)


async def test_without_delays_all_tokens_are_ready_at_once() -> None:
    sequence = Recorded(5)
    Batch(Timing(), ignore).add(sequence)
    await sequence.done.wait()
    assert sequence.told == [5]


async def test_tokens_come_one_by_one() -> None:
    sequence = Recorded(4)
    Batch(Timing(ttft=0.001, inter_token=0.001), ignore).add(sequence)
    await sequence.done.wait()
    assert sequence.told == [1, 2, 3, 4]


async def test_who_wants_the_whole_is_told_once() -> None:
    sequence = Recorded(4, stepwise=False)
    Batch(Timing(inter_token=0.001), ignore).add(sequence)
    await sequence.done.wait()
    assert sequence.told == [4]


async def test_the_first_token_waits_for_the_prefill() -> None:
    slow, quick = Recorded(), Recorded()
    Batch(Timing(ttft=0.05), ignore).add(slow)
    Batch(Timing(ttft=0.001), ignore).add(quick)
    await quick.done.wait()
    assert slow.told == []
    await slow.done.wait()


async def test_a_full_batch_makes_others_wait_in_their_order() -> None:
    batch = Batch(FOREVER, ignore)
    first, second, third, fourth = sequences = [Recorded() for _ in range(4)]
    for each in sequences:
        batch.add(each)
    assert repr(batch) == "<Batch [2 running, 2 waiting]>"
    batch.timing = Timing(max_num_seqs=2)
    batch.remove(first)
    await third.done.wait()
    assert fourth.told == second.told == []
    batch.remove(third)
    await fourth.done.wait()
    assert second.told == []


async def test_leaving_twice_or_without_having_entered_changes_nothing() -> None:
    batch = Batch(FOREVER, ignore)
    one, other = Recorded(), Recorded()
    batch.add(one)
    batch.remove(other)
    assert (batch.running, batch.waiting) == (1, 0)
    batch.remove(one)
    batch.remove(one)
    assert (batch.running, batch.waiting) == (0, 0)


async def test_who_left_is_told_nothing_more() -> None:
    batch = Batch(Timing(), ignore)
    sequence, later = Recorded(), Recorded()
    batch.add(sequence)
    batch.remove(sequence)
    batch.add(later)
    await later.done.wait()
    assert sequence.told == []


async def test_the_kv_cache_holds_the_running_sequences() -> None:
    batch = Batch(FOREVER, ignore)
    for _ in range(3):
        batch.add(Recorded(prompt=20))
    assert batch.kv_cache_usage == pytest.approx(0.4)
    batch.add(Recorded(prompt=1000))
    assert batch.kv_cache_usage == pytest.approx(0.4)


async def test_changes_are_announced() -> None:
    seen = []
    batch = Batch(FOREVER, lambda: seen.append((batch.running, batch.waiting)))
    one, two, three = Recorded(), Recorded(), Recorded()
    for each in (one, two, three):
        batch.add(each)
    batch.remove(three)
    assert seen == [(1, 0), (2, 0), (2, 1), (2, 0)]
