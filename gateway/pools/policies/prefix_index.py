"""Which beginnings of prompts each replica has in its prefix cache, as far as that follows from what it was sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence

from gateway.pools.policies.prompt_blocks import BLOCK_BYTES, Prompt
from gateway.pools.replica import Replica

_GUESS = 1_000_000
"""Tokens that a cache is believed to have room for of which nothing is known. Rather too many than too few."""


class _Cache:
    """What one replica is believed to hold."""

    __slots__ = ("bit", "blocks", "tokens")

    def __init__(self, bit: int) -> None:
        self.bit = bit
        # Ordered, because the first entry of a dict is found by passing over all that were removed before it.
        self.blocks: OrderedDict[int, int] = OrderedDict()
        """The tokens of each block, the longest unused first."""
        self.tokens = 0


class PrefixIndex:
    """Follows the prefix cache of each replica: the blocks of prompts it was sent, least recently used out first.

    An engine keeps the blocks of its KV cache until it needs the room, and gives away those first that were not used
    for the longest time, the end of a prompt before its beginning (vLLM's ``block_pool``, SGLang's RadixAttention:
    Zheng et al., 2024). Each replica is believed to hold ``capacity`` tokens, or without that as many as its engine has
    told, or ``_GUESS``. So a block that it must have given away is not counted upon, and the index is bounded, whatever
    is sent.

    A block is used whenever a longer one is. So a replica that has a block has all before it, and those that have a
    block are among those that have the one before.
    """

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._caches: dict[Replica, _Cache] = {}
        self._of_bit: dict[int, Replica] = {}
        self._holders: dict[int, int] = {}
        """The replicas that have a block, as the sum of their bits: sets would be most of what the index needs."""

    def __repr__(self) -> str:
        return f"<PrefixIndex [{len(self._holders)} blocks at {len(self._caches)} replicas]>"

    def known(self, prompt: Prompt, enough: int) -> dict[Replica, int]:
        """Give how many blocks of a prompt each replica has, those first that have the most.

        Once ``enough`` replicas are found, those that have still less of it are left out.
        """
        found: dict[Replica, int] = {}
        blocks, holders, seen, number = prompt.blocks, self._holders, 0, 0
        # To look for a block takes a fraction of what it took to hash it, however many there are.
        for block in blocks:
            if block not in holders:
                break
            number += 1
        while number and len(found) < enough:
            others = holders[blocks[number - 1]] & ~seen
            seen |= others
            while others:
                bit = others & -others
                found[self._of_bit[bit]] = number
                others ^= bit
            number -= 1
        return found

    def remember(self, replica: Replica, prompt: Prompt) -> int:
        """Take in that a replica was sent a prompt, whose blocks are its most recently used ones now.

        Return how many blocks of it, from its beginning, the replica had before.
        """
        cache = self._caches.get(replica) or self._new_cache(replica)
        blocks, holders, per_byte = prompt.blocks, self._holders, prompt.per_byte
        cached, bit = cache.blocks, cache.bit
        known = _known(blocks, cached)
        for number in range(len(blocks) - 1, known - 1, -1):
            block = blocks[number]
            tokens = cached[block] = int(BLOCK_BYTES[number] * per_byte)
            cache.tokens += tokens
            holders[block] = holders.get(block, 0) | bit
        try:
            for block in reversed(blocks[:known]):
                cached.move_to_end(block)
        except KeyError:
            # Two prompts have a hash in common by chance: the replica has a block and not all before it.
            self.forget(replica)
            return 0
        capacity = self._capacity or replica.cache_tokens or _GUESS
        if cache.tokens > capacity:
            self._evict(cache, capacity)
        return known

    def forget(self, replica: Replica) -> None:
        """Take in that a replica has nothing any more: it has started anew, or is gone."""
        cache = self._caches.pop(replica, None)
        if cache is not None:
            for block in cache.blocks:
                self._release(block, cache.bit)
            del self._of_bit[cache.bit]

    def _new_cache(self, replica: Replica) -> _Cache:
        bit = 1
        while bit in self._of_bit:
            bit <<= 1
        self._of_bit[bit] = replica
        cache = self._caches[replica] = _Cache(bit)
        return cache

    def _evict(self, cache: _Cache, capacity: int) -> None:
        blocks = cache.blocks
        while cache.tokens > capacity and blocks:
            block, tokens = blocks.popitem(last=False)
            cache.tokens -= tokens
            self._release(block, cache.bit)

    def _release(self, block: int, bit: int) -> None:
        left = self._holders[block] ^ bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]


def _known(blocks: Sequence[int], among: Container[int]) -> int:
    """Give how many of ``blocks``, from the first on, are ``among`` others, by halving: none is without those before.

    perf: call, see docs/python-idioms.md.
    """
    low, high = 0, len(blocks)
    while low < high:
        middle = (low + high) // 2
        if blocks[middle] in among:
            low = middle + 1
        else:
            high = middle
    return low
