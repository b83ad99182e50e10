"""The prompts that one replica has been sent, and how much of them it has yet to read."""

from __future__ import annotations

from collections import OrderedDict

from gateway.pools.policies.policy import Routable

UNREAD = 5.0
"""How much a token that waits to be read counts, beside one that a running request holds.

Running requests take memory and a share of each step. With more, requests in flight were less even."""


class PrefillQueue:
    """The requests at one replica: the tokens that they hold, those that it has yet to read, and who shares a prefix.

    Tokens are to be read that are not in its prefix cache. An engine reads prompts in the order in which they come.
    Nothing says that one has been read but the first token of its stream, which is noticed when somebody looks. The
    prompt of a request that does not stream counts as unread until its response is there.
    """

    __slots__ = ("_sent", "bit", "load", "sharing", "streams")

    def __init__(self) -> None:
        self.bit = 0
        """Which one of the replicas it is, as ``PrefixIndex`` says; 0 while that knows nothing of it."""
        self._sent: dict[Routable, tuple[int, float, int | None]] = {}
        """What each request holds, what of it was unread when it came, and the last block of its cached prefix."""
        self.load = 0.0
        """The tokens that its requests hold, and ``UNREAD`` times those that are unread; exact after ``look``."""
        # Ordered, because the first entry of a dict is found by passing over all that were removed before it.
        self.streams: OrderedDict[Routable, float] = OrderedDict()
        """The unread tokens of each request that streams, the oldest first."""
        self.sharing: dict[int, int] = {}
        """How many requests in flight have found just a prefix in the cache, by the last block of that."""

    def __repr__(self) -> str:
        held = sum(each[0] for each in self._sent.values())
        return f"<PrefillQueue [{len(self._sent)} requests; {(self.load - held) / UNREAD:.0f} of {held} tokens unread]>"

    def __len__(self) -> int:
        return len(self._sent)

    def look(self) -> None:
        """Take note of the prompts that have been read."""
        streams = self.streams
        while streams:
            oldest = next(iter(streams))
            if oldest.context.first_token_at is None:
                break
            self.load -= UNREAD * streams.pop(oldest)

    def add(self, request: Routable, held: int, unread: float, prefix: int | None) -> None:
        """Take in a request that holds so many tokens, some unread; ``prefix`` is the last block that is cached."""
        self._sent[request] = held, unread, prefix
        self.load += held + UNREAD * unread
        if request.streams:
            self.streams[request] = unread
        if prefix is not None:
            sharing = self.sharing
            sharing[prefix] = sharing.get(prefix, 0) + 1

    def remove(self, request: Routable) -> None:
        """Let a request go, whose response is there or will not come."""
        held, unread, prefix = self._sent.pop(request)
        if request.streams:
            unread = self.streams.pop(request, 0.0)
        # Sums of fractions do not come back to exactly nothing by themselves, and idle replicas are to be equal.
        self.load = self.load - held - UNREAD * unread if self._sent else 0.0
        if prefix is not None:
            sharing = self.sharing
            left = sharing[prefix] - 1
            if left:
                sharing[prefix] = left
            else:
                del sharing[prefix]
