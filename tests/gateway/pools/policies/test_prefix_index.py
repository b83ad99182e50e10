"""The index believes what an LRU cache of so many tokens would hold: checked against one that is written plainly."""

from __future__ import annotations

import random

import pytest

from gateway.pools.policies.prefix_index import PrefixIndex
from gateway.pools.policies.prompt_blocks import BLOCK_BYTES, Prompt, read_prompt
from gateway.pools.replica import Replica
from tests.gateway.pools.made import NO_PROMPT, replica


def prompt(*parts: str) -> Prompt:
    """Make a prompt of parts that are a block each."""
    return read_prompt(b'{"prompt":"%b"}' % "".join(f"{part:<1024}" for part in parts).encode())


def known(index: PrefixIndex, asked: Prompt, enough: int) -> dict[Replica, int]:
    """Give how many blocks of a prompt each replica has, those first that have the most."""
    return {each: blocks for blocks, bits in index.known(asked, enough) for each in index.replicas_of(bits)}


class PlainCache:
    """What one replica holds, as a list: the longest unused first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.blocks: list[tuple[int, float]] = []

    def known(self, asked: Prompt) -> int:
        held = [block for block, _ in self.blocks]
        number = 0
        while number < len(asked.blocks) and asked.blocks[number] in held:
            number += 1
        return number

    def remember(self, asked: Prompt) -> None:
        held = dict(self.blocks)
        sizes = (size * asked.per_byte for size in BLOCK_BYTES)
        mine = [(block, held.get(block, size)) for block, size in zip(asked.blocks, sizes, strict=False)]
        self.blocks = [each for each in self.blocks if each[0] not in asked.blocks] + mine[::-1]
        while sum(tokens for _, tokens in self.blocks) > self.capacity:
            del self.blocks[0]


def test_what_a_replica_was_sent_is_known_of_it_alone() -> None:
    index, one, other = PrefixIndex(10_000), replica("a"), replica("b")
    index.remember(one, prompt("system", "question", "more"))
    asked = prompt("system", "question", "else", "end")
    assert known(index, asked, 8) == {one: 2}
    assert index.remember(one, asked) == 2
    assert index.remember(other, asked) == 0


def test_who_knows_most_comes_first_and_enough_are_enough() -> None:
    index = PrefixIndex(10_000)
    replicas = [replica(name) for name in "abc"]
    for number, each in enumerate(replicas, 1):
        index.remember(each, prompt(*"wxyz"[:number], "end"))
    asked = prompt(*"wxyz")
    assert list(known(index, asked, 8).items()) == [(replicas[2], 3), (replicas[1], 2), (replicas[0], 1)]
    assert list(known(index, asked, 1)) == [replicas[2]]


def test_the_longest_unused_is_believed_to_be_gone_the_end_of_a_prompt_first() -> None:
    index, here = PrefixIndex(4 * 256 + 8), replica("a")
    index.remember(here, prompt("old", "b", "c"))
    index.remember(here, prompt("new", "b", "c"))
    assert known(index, prompt("new", "b", "c"), 8) == {here: 3}
    assert known(index, prompt("old", "b", "c"), 8) == {here: 1}


def test_a_prompt_larger_than_a_cache_leaves_its_beginning_there() -> None:
    index, here = PrefixIndex(3 * 256 + 8), replica("a")
    long = prompt(*(str(number) for number in range(20)))
    index.remember(here, long)
    assert 1 <= known(index, long, 8)[here] <= 3


def test_a_replica_that_is_forgotten_has_nothing_and_others_keep_theirs() -> None:
    index, one, other = PrefixIndex(10_000), replica("a"), replica("b")
    for each in (one, other):
        index.remember(each, prompt("system", "question"))
    index.forget(one)
    index.forget(one)
    assert known(index, prompt("system", "question"), 8) == {other: 2}
    index.forget(other)
    assert repr(index) == "<PrefixIndex [0 blocks at 0 replicas]>"


def test_a_replica_that_is_left_out_is_not_taken_for_the_one_that_comes_after_it() -> None:
    index, gone, come = PrefixIndex(10_000), replica("a"), replica("b")
    index.remember(gone, prompt("system", "question"))
    index.leave_out(gone)
    assert index.bit_of(come) == 1
    assert known(index, prompt("system", "question"), 8) == {}
    index.remember(come, prompt("system"))
    assert known(index, prompt("system", "question"), 8) == {come: 1}


def test_a_request_without_a_prompt_is_known_nowhere() -> None:
    index, here = PrefixIndex(1000), replica("a")
    assert index.remember(here, NO_PROMPT) == 0
    assert known(index, NO_PROMPT, 8) == {}


def test_the_index_does_not_grow_beyond_the_caches() -> None:
    index, replicas = PrefixIndex(256 * 100), [replica("a"), replica("b")]
    for number in range(5000):
        index.remember(replicas[number % 2], prompt(str(number), str(-number)))
    held = int(repr(index).partition("[")[2].split()[0])
    assert held <= 2 * 104


@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_a_plain_lru_cache_whatever_is_sent(seed: int) -> None:
    draw = random.Random(seed)
    capacity = draw.choice([800, 2800, 12_000, 80_000])
    index = PrefixIndex(capacity)
    replicas = [replica(name) for name in "abcd"]
    plain: dict[Replica, PlainCache] = {each: PlainCache(capacity) for each in replicas}
    sent: list[tuple[str, ...]] = [("root",)]
    for _ in range(200):
        base = draw.choice(sent)
        parts = (*base[: draw.randint(0, len(base))], *(str(draw.randint(0, 9)) for _ in range(draw.randint(0, 12))))
        sent.append(parts)
        asked, to = prompt(*parts, "end"), draw.choice(replicas)
        expected = {each: number for each in replicas if (number := plain[each].known(asked))}
        assert known(index, asked, len(replicas)) == expected
        if draw.random() < 0.02:
            index.forget(to)
            plain[to] = PlainCache(capacity)
        else:
            assert index.remember(to, asked) == expected.get(to, 0)
            plain[to].remember(asked)


def test_without_a_capacity_it_is_what_the_engine_has_told() -> None:
    index, told, silent = PrefixIndex(None), replica("a"), replica("b")
    told.cache_tokens = 600
    for each in (told, silent):
        for number in range(10):
            index.remember(each, prompt(str(number)))
    found = [known(index, prompt(str(number)), 2) for number in range(10)]
    assert sum(told in each for each in found) < sum(silent in each for each in found) == 10


@pytest.mark.parametrize(
    "blocks",
    [(9, 2, 5), (9, 3), (2,), (3, 1), (9, 8, 3)],
    ids=["in the middle", "at the end", "alone", "the other way round", "unknown before it"],
)
def test_blocks_with_one_hash_by_chance_cost_hits_and_nothing_else(blocks: tuple[int, ...]) -> None:
    index, here = PrefixIndex(2000), replica("a")
    true, other = Prompt(384, (1, 2, 3), 0.25), Prompt(384, blocks, 0.25)
    for each in (true, other, true, other, true):
        known(index, each, 1)
        index.remember(here, each)
    for number in range(100):
        index.remember(here, Prompt(128, (100 + number,), 0.25))
        index.remember(here, other)
    index.forget(here)
    assert repr(index) == "<PrefixIndex [0 blocks at 0 replicas]>"
    assert index.remember(here, true) == 0
    assert known(index, true, 1) == {here: 3}
