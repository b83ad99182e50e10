"""Continuous batching: what a step serves, what it costs, and what happens when the KV cache is full."""

import asyncio

from loadtest.simulator.batch import Work
from loadtest.simulator.profile import Profile
from loadtest.simulator.scheduler import Scheduler
from tests.kit.eventually import PATIENCE

INSTANT = Profile(block_size=4, num_blocks=100)


class Told:
    """A sequence that remembers what it was told, and when."""

    def __init__(
        self,
        name: str = "",
        *,
        prompt: int = 4,
        tokens: int = 1,
        text: bytes = b"",
        stepwise: bool = True,
        order: list[str] | None = None,
    ) -> None:
        self._name = name
        self._order = [] if order is None else order
        self.work = Work(prompt, tokens, text)
        self.stepwise = stepwise
        self.told: list[int] = []
        self.at: list[float] = []
        self.begun = asyncio.Event()
        self.done = asyncio.Event()

    def produced(self, tokens: int) -> None:
        self.begun.set()
        self.told.append(tokens)
        self._order.append(self._name)
        self.at.append(asyncio.get_running_loop().time())
        if tokens == self.work.output_tokens:
            self.done.set()


class Changes:
    """What a scheduler calls at each change, so that a test can wait for one."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self._changed.set()

    async def until_one_runs(self, scheduler: Scheduler) -> None:
        while not scheduler.running:
            self._changed.clear()
            await self._changed.wait()


def ignore() -> None:
    """Take no notice of changes."""


async def all_done(scheduler: Scheduler, *sequences: Told) -> None:
    for each in sequences:
        scheduler.add(each)
    for each in sequences:
        async with asyncio.timeout(PATIENCE):
            await each.done.wait()


async def test_each_step_brings_every_running_sequence_one_token() -> None:
    scheduler = Scheduler(INSTANT, ignore)
    one, other = Told(tokens=3), Told(tokens=5)
    await all_done(scheduler, one, other)
    assert (one.told, other.told) == ([1, 2, 3], [1, 2, 3, 4, 5])
    assert repr(scheduler) == "<Scheduler [0 running, 0 waiting; <Blocks [100 of 100 free, 0 known]>]>"


async def test_who_wants_the_whole_is_told_once() -> None:
    sequence = Told(tokens=4, stepwise=False)
    await all_done(Scheduler(INSTANT, ignore), sequence)
    assert sequence.told == [4]


async def test_a_sequence_beyond_the_batch_waits() -> None:
    changes = Changes()
    scheduler = Scheduler(Profile(step=3600, max_num_seqs=1), changes)
    for each in (Told(), Told()):
        scheduler.add(each)
    await changes.until_one_runs(scheduler)
    assert (scheduler.running, scheduler.waiting) == (1, 1)


async def test_a_long_prompt_is_read_in_chunks_while_others_go_on() -> None:
    # A step has room for 8 tokens: 2 of the short prompt and 6 of the long one, then 1 and 7.
    scheduler = Scheduler(Profile(block_size=4, num_blocks=100, max_num_batched_tokens=8), ignore)
    order: list[str] = []
    short, long = Told("short", prompt=2, tokens=5, order=order), Told("long", prompt=24, order=order)
    await all_done(scheduler, short, long)
    assert order == ["short", "short", "short", "short", "long", "short"]


async def test_a_step_costs_what_it_reads_and_how_many_it_serves() -> None:
    profile = Profile(step=0.01, prefill_token=0.001, decode=0.005, block_size=4, num_blocks=100)
    loop = asyncio.get_running_loop()
    one, other = Told(prompt=10, tokens=3), Told(prompt=10, tokens=3)
    began = loop.time()
    await all_done(Scheduler(profile, ignore), one, other)
    first, second, third = one.at
    # Being called late is the event loop's affair, being called early would be the scheduler's.
    assert first - began >= 0.01 + 20 * 0.001 - 0.002
    assert second - began >= 0.03 + 0.02 - 0.002
    assert third - began >= 0.03 + 2 * 0.02 - 0.002


async def test_attention_makes_a_long_context_dearer() -> None:
    profile = Profile(attended=0.0001, block_size=4, num_blocks=100)
    loop = asyncio.get_running_loop()
    sequence = Told(prompt=20, tokens=2)
    began = loop.time()
    await all_done(Scheduler(profile, ignore), sequence)
    # 20 tokens look at 200 pairs, the next one at 20 more.
    assert sequence.at[1] - began >= 0.0001 * 220 - 0.002


async def test_the_beginning_of_a_prompt_that_was_read_before_is_cached() -> None:
    scheduler = Scheduler(INSTANT, ignore)
    first, second = Told(prompt=10, text=b"a" * 40), Told(prompt=12, text=b"a" * 40 + b"b" * 8)
    await all_done(scheduler, first)
    await all_done(scheduler, second)
    assert first.work.cached_tokens == 0
    assert second.work.cached_tokens == 8
    assert (scheduler.queried_tokens, scheduler.cached_tokens) == (22, 8)


async def test_the_last_token_of_a_prompt_is_never_cached() -> None:
    scheduler = Scheduler(INSTANT, ignore)
    for _ in range(2):
        sequence = Told(prompt=8, text=b"a" * 32)
        await all_done(scheduler, sequence)
    assert sequence.work.cached_tokens == 4


async def test_a_prompt_of_token_ids_is_cached_too() -> None:
    scheduler = Scheduler(INSTANT, ignore)
    for _ in range(2):
        sequence = Told(prompt=9)
        sequence.work.prompt = list(range(9))
        await all_done(scheduler, sequence)
    assert sequence.work.cached_tokens == 8


async def test_without_room_in_the_kv_cache_a_sequence_waits() -> None:
    changes = Changes()
    scheduler = Scheduler(Profile(step=3600, block_size=4, num_blocks=4), changes)
    one, other = Told(prompt=12), Told(prompt=8)
    scheduler.add(one)
    scheduler.add(other)
    await changes.until_one_runs(scheduler)
    assert (scheduler.running, scheduler.waiting, scheduler.kv_cache_usage) == (1, 1, 0.75)


async def test_when_the_cache_runs_out_the_youngest_gives_way_and_is_computed_again() -> None:
    scheduler = Scheduler(Profile(block_size=4, num_blocks=4), ignore)
    order: list[str] = []
    old, young = (Told(name, prompt=4, tokens=10, order=order) for name in ("old", "young"))
    await all_done(scheduler, old, young)
    assert scheduler.preemptions >= 1
    assert old.told == young.told == list(range(1, 11))
    assert order[-1] == "young"
    assert scheduler.kv_cache_usage == 0


async def test_leaving_gives_everything_back_from_anywhere() -> None:
    changes = Changes()
    scheduler = Scheduler(Profile(step=3600, max_num_seqs=1, block_size=4, num_blocks=4), changes)
    running, waiting, stranger = Told(prompt=12), Told(), Told()
    scheduler.add(running)
    scheduler.add(waiting)
    await changes.until_one_runs(scheduler)
    for each in (stranger, waiting, waiting, running, running):
        scheduler.remove(each)
    assert (scheduler.running, scheduler.waiting, scheduler.kv_cache_usage) == (0, 0, 0)


async def test_who_left_before_it_was_read_is_never_scheduled() -> None:
    scheduler = Scheduler(Profile(request=0.01), ignore)
    early, other = Told(), Told()
    scheduler.add(early)
    scheduler.remove(early)
    await all_done(scheduler, other)
    assert early.told == []


async def test_who_leaves_within_a_step_is_told_nothing_more() -> None:
    scheduler = Scheduler(Profile(step=0.02), ignore)
    leaving, staying = Told(tokens=3), Told(tokens=3)
    scheduler.add(leaving)
    scheduler.add(staying)
    await leaving.begun.wait()
    scheduler.remove(leaving)
    await staying.done.wait()
    assert leaving.told == [1]
    assert staying.told == [1, 2, 3]


async def test_a_finished_sequence_holds_nothing_even_before_it_leaves() -> None:
    scheduler = Scheduler(INSTANT, ignore)
    sequence = Told()
    await all_done(scheduler, sequence)
    assert scheduler.running == 0
    scheduler.remove(sequence)
    assert scheduler.kv_cache_usage == 0


async def test_changes_are_announced() -> None:
    seen: list[tuple[int, int]] = []
    scheduler = Scheduler(INSTANT, lambda: seen.append((scheduler.running, scheduler.waiting)))
    await all_done(scheduler, Told())
    await asyncio.sleep(0)
    assert seen[0] == (0, 1)
    assert seen[-1] == (0, 0)


async def test_inputs_that_are_more_than_the_cache_holds_do_not_wait_for_ever() -> None:
    scheduler = Scheduler(Profile(block_size=4, num_blocks=2), ignore)
    many, behind = Told(prompt=100, stepwise=False), Told()
    scheduler.add(many)
    scheduler.add(behind)
    await all_done(scheduler, many, behind)
