"""The KV cache: blocks of tokens, shared by equal prefixes, and given to others when nobody else is left to take from.

As vLLM keeps them (``vllm/v1/core/block_pool.py``): a full block is known by the hash of its tokens and of all before
them; a block that nobody holds stays known until it is needed for something else, the longest unused first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence

from loadtest.simulator import tokens


class Blocks:
    """``number`` blocks of ``size`` tokens each."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        # Not a dict: its first entry is found by passing over all that were removed before it.
        self._free = OrderedDict.fromkeys(range(number))
        self._holders = [0] * number
        self._by_hash: dict[int, int] = {}
        self._hashes: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Blocks [{len(self._free)} of {self.number} free, {len(self._by_hash)} known]>"

    @property
    def usage(self) -> float:
        """The share of blocks that somebody holds (0 to 1)."""
        return 1 - len(self._free) / self.number

    def known(self, hashes: Iterable[int]) -> list[int]:
        """Return the blocks of the longest prefix that is still there."""
        found = []
        for each in hashes:
            block = self._by_hash.get(each)
            if block is None:
                break
            found.append(block)
        return found

    def take(self, more: int, known: Sequence[int] = ()) -> list[int] | None:
        """Hold ``known`` blocks and so many ``more``; return all of them, or ``None`` if there is no room."""
        unheld = sum(1 for block in known if not self._holders[block])
        if more > len(self._free) - unheld:
            return None
        for block in known:
            self._free.pop(block, None)
            self._holders[block] += 1
        taken = list(known)
        for _ in range(more):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._holders[block] = 1
            taken.append(block)
        return taken

    def name(self, block: int, digest: int) -> None:
        """Know a full block by the hash of its tokens, unless another block is known by it."""
        if digest not in self._by_hash and block not in self._hashes:
            self._by_hash[digest] = block
            self._hashes[block] = digest

    def release(self, blocks: Sequence[int]) -> None:
        """Hold these no longer; of equally old ones, the end of a prefix is given away before its beginning."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free[block] = None

    def _forget(self, block: int) -> None:
        digest = self._hashes.pop(block, None)
        if digest is not None:
            del self._by_hash[digest]


def hashes_of(prompt: bytes | Sequence[int], size: int) -> list[int]:
    """Return the hash of each full block of a prompt: text, of which four bytes are a token, or token ids."""
    step = size * tokens.BYTES if isinstance(prompt, bytes) else size
    found: list[int] = []
    before = 0
    for at in range(0, len(prompt) - step + 1, step):
        piece: Hashable = prompt[at : at + step] if isinstance(prompt, bytes) else tuple(prompt[at : at + step])
        before = hash((before, piece))
        found.append(before)
    return found
