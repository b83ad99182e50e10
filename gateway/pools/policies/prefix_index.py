"""Which beginnings of prompts each replica has in its prefix cache, as far as that follows from what it was sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterator, Sequence

import msgspec

from gateway.pools.policies.prompt_blocks import BLOCK_BYTES, Prompt
from gateway.pools.replica import Replica

_GUESS = 1_000_000
"""Tokens that a cache is believed to have room for of which nothing is known. Rather too many than too few."""


class _Block(msgspec.Struct, gc=False):
    """A block that a replica is believed to hold."""

    before: int | None
    """The block before it; ``None`` for the first one of a prompt."""
    tokens: float
    followers: int
    """How many blocks come after it, each in another prompt."""


class _Cache:
    """What one replica is believed to hold."""

    __slots__ = ("bit", "blocks", "ends", "tokens")

    def __init__(self, bit: int) -> None:
        self.bit = bit
        self.blocks: dict[int, _Block] = {}
        # Ordered, because the first entry of a dict is found by passing over all that were removed before it.
        self.ends: OrderedDict[int, None] = OrderedDict()
        """The last blocks of prompts, the longest unused first. Every block that nothing follows is among them."""
        self.tokens = 0.0

    def clear(self) -> None:
        """Hold nothing."""
        self.blocks.clear()
        self.ends.clear()
        self.tokens = 0.0


class PrefixIndex:
    """Follows the prefix cache of each replica: the blocks of prompts it was sent, least recently used out first.

    An engine keeps the blocks of its KV cache until it needs the room, and gives away those first that were not used
    for the longest time, the end of a prompt before its beginning (vLLM's ``block_pool``, SGLang's RadixAttention:
    Zheng et al., 2024). Each replica is believed to hold ``capacity`` tokens, or without that as many as its engine has
    told, or ``_GUESS``. So a block that it must have given away is not counted upon, and the index is bounded, whatever
    is sent.

    A block is used whenever a longer one is. So a replica that has a block has all before it, and those that have a
    block are among those that have the one before. Nor need it be noted of each block when it was used: it is as old
    as the youngest end that comes after it.
    """

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._caches: dict[Replica, _Cache] = {}
        self._of_bit: dict[int, Replica] = {}
        self._holders: dict[int, int] = {}
        """The replicas that have a block, as the sum of their bits: sets would be most of what the index needs."""

    def __repr__(self) -> str:
        holding = sum(bool(cache.blocks) for cache in self._caches.values())
        return f"<PrefixIndex [{len(self._holders)} blocks at {holding} replicas]>"

    def known(self, prompt: Prompt, enough: int) -> list[tuple[int, int]]:
        """Give how many blocks of a prompt replicas have, from the most on, each with the bits of those that have them.

        Once ``enough`` replicas are found, those that have still less of it are left out.
        """
        found: list[tuple[int, int]] = []
        blocks, holders, seen = prompt.blocks, self._holders, 0
        if not blocks or blocks[0] not in holders:
            return found
        high = len(blocks)
        while high > 0 and seen.bit_count() < enough:
            # By halving, how much of it somebody has who was not seen yet: less and less.
            low = others = 0
            while low < high:
                middle = (low + high + 1) // 2
                here = holders.get(blocks[middle - 1], 0) & ~seen
                if here:
                    low, others = middle, here
                else:
                    high = middle - 1
            if not low:
                break
            found.append((low, others))
            seen |= others
            high = low - 1
        return found

    def bit_of(self, replica: Replica) -> int:
        """Give the bit of a replica, which it has from now on until it is left out."""
        cache = self._caches.get(replica) or self._new_cache(replica)
        return cache.bit

    def replicas_of(self, bits: int) -> Iterator[Replica]:
        """Give the replicas of a sum of bits."""
        while bits:
            bit = bits & -bits
            yield self._of_bit[bit]
            bits ^= bit

    def remember(self, replica: Replica, prompt: Prompt) -> int:
        """Take in that a replica was sent a prompt, whose blocks are its most recently used ones now.

        Return how many blocks of it, from its beginning, the replica had before.
        """
        blocks = prompt.blocks
        if not blocks:
            return 0
        cache = self._caches.get(replica) or self._new_cache(replica)
        cached, ends = cache.blocks, cache.ends
        last = blocks[-1]
        known = len(blocks) if last in cached else _known(blocks, cached)
        if known < len(blocks):
            size, holders, bit, per_byte, before = len(cached), self._holders, cache.bit, prompt.per_byte, None
            if known:
                before = blocks[known - 1]
                cached[before].followers += 1
            for number in range(known, len(blocks)):
                block = blocks[number]
                tokens = BLOCK_BYTES[number] * per_byte
                # Nothing follows the last one yet.
                cached[block] = _Block(before, tokens, block != last)
                holders[block] = holders.get(block, 0) | bit
                cache.tokens += tokens
                before = block
            if len(cached) < size + len(blocks) - known:
                # Two prompts have a hash in common by chance: the replica has a block and not all before it.
                self.forget(replica)
                return 0
        ends[last] = None
        ends.move_to_end(last)
        capacity = self._capacity or replica.cache_tokens or _GUESS
        if cache.tokens > capacity:
            self._evict(cache, capacity)
        return known

    def forget(self, replica: Replica) -> None:
        """Take in that a replica has nothing any more: it has started anew."""
        cache = self._caches.get(replica)
        if cache is not None:
            for block in cache.blocks:
                self._release(block, cache.bit)
            cache.clear()

    def leave_out(self, replica: Replica) -> None:
        """Take in that a replica is gone, whose bit may be another's from now on."""
        self.forget(replica)
        cache = self._caches.pop(replica, None)
        if cache is not None:
            del self._of_bit[cache.bit]

    def _new_cache(self, replica: Replica) -> _Cache:
        bit = 1
        while bit in self._of_bit:
            bit <<= 1
        self._of_bit[bit] = replica
        cache = self._caches[replica] = _Cache(bit)
        return cache

    def _evict(self, cache: _Cache, capacity: int) -> None:
        """Let the longest unused blocks go, from each end back to what is used by others or later."""
        cached, ends = cache.blocks, cache.ends
        while cache.tokens > capacity and ends:
            block, _ = ends.popitem(last=False)
            held = cached[block]
            while not held.followers and block not in ends:
                if cache.tokens <= capacity:
                    # What is left of this prompt goes next.
                    ends[block] = None
                    ends.move_to_end(block, last=False)
                    break
                del cached[block]
                self._release(block, cache.bit)
                cache.tokens -= held.tokens
                if held.before is None:
                    break
                block = held.before
                held = cached[block]
                held.followers -= 1

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
