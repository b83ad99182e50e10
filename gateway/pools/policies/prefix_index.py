"""Which beginnings of prompts each replica has in its prefix cache, as far as that follows from what it was sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence

from gateway.pools.policies.prompt_blocks import BLOCK_BYTES, Prompt
from gateway.pools.replica import Replica

_GUESS = 1_000_000
"""Tokens that a cache is believed to have room for of which nothing is known. Rather too many than too few."""


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
        # Ordered, because the first entry of a dict is found by passing over all that were removed before it.
        self._caches: dict[Replica, OrderedDict[int, int]] = {}
        """For each replica the tokens of each block, the longest unused first."""
        self._tokens: dict[Replica, int] = {}
        """How many tokens that are."""
        self._holders: dict[int, dict[Replica, None]] = {}

    def __repr__(self) -> str:
        return f"<PrefixIndex [{len(self._holders)} blocks at {len(self._caches)} replicas]>"

    def known(self, prompt: Prompt, enough: int) -> dict[Replica, int]:
        """Give how many blocks of a prompt each replica has, those first that have the most.

        Once ``enough`` replicas are found, those that have still less of it are left out.
        """
        found: dict[Replica, int] = {}
        blocks, holders = prompt.blocks, self._holders
        for number in range(_known(blocks, holders), 0, -1):
            having = holders[blocks[number - 1]]
            if len(having) > len(found):
                for replica in having:
                    found.setdefault(replica, number)
                if len(found) >= enough:
                    break
        return found

    def remember(self, replica: Replica, prompt: Prompt) -> int:
        """Take in that a replica was sent a prompt, whose blocks are its most recently used ones now.

        Return how many blocks of it, from its beginning, the replica had before.
        """
        cache = self._caches.get(replica)
        if cache is None:
            cache = self._caches[replica] = OrderedDict()
        blocks, holders, per_byte = prompt.blocks, self._holders, prompt.per_byte
        known = _known(blocks, cache)
        held = self._tokens.get(replica, 0)
        for number in range(len(blocks) - 1, known - 1, -1):
            block = blocks[number]
            tokens = cache[block] = int(BLOCK_BYTES[number] * per_byte)
            held += tokens
            holders.setdefault(block, {})[replica] = None
        try:
            for block in reversed(blocks[:known]):
                cache.move_to_end(block)
        except KeyError:
            # Two prompts have a hash in common by chance: the replica has a block and not all before it.
            self.forget(replica)
            return 0
        self._tokens[replica] = held
        capacity = self._capacity or replica.cache_tokens or _GUESS
        if held > capacity:
            self._evict(replica, cache, capacity)
        return known

    def forget(self, replica: Replica) -> None:
        """Take in that a replica has nothing any more: it has started anew, or is gone."""
        for block in self._caches.pop(replica, ()):
            self._release(block, replica)
        self._tokens.pop(replica, None)

    def _evict(self, replica: Replica, cache: OrderedDict[int, int], capacity: int) -> None:
        held = self._tokens[replica]
        while held > capacity and cache:
            block, tokens = cache.popitem(last=False)
            held -= tokens
            self._release(block, replica)
        self._tokens[replica] = held

    def _release(self, block: int, replica: Replica) -> None:
        having = self._holders[block]
        del having[replica]
        if not having:
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
