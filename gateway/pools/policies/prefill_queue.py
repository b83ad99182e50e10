"""The prompts that one replica has been sent, and how much of them it has yet to read."""

from __future__ import annotations

from collections import OrderedDict

from gateway.pools.policies.policy import Routable


class PrefillQueue:
    """The prompts at one replica: tokens that are not in its prefix cache and not read yet, and who shares a prefix.

    An engine reads prompts in the order in which they come. Nothing says that one has been read but the first token of
    its stream, which is noticed when somebody looks. The prompt of a request that does not stream counts as unread
    until its response is there.
    """

    __slots__ = ("_others", "_prefix_of", "sharing", "streams", "unread_tokens")

    def __init__(self) -> None:
        self.unread_tokens = 0
        """Those of ``unread``, as far as it was looked at; exact where there are no ``streams``."""
        # Ordered, because the first entry of a dict is found by passing over all that were removed before it.
        self.streams: OrderedDict[Routable, int] = OrderedDict()
        """The unread tokens of each request that streams, the oldest first."""
        self._others: dict[Routable, int] = {}
        self._prefix_of: dict[Routable, int | None] = {}
        self.sharing: dict[int | None, int] = {}
        """How many requests in flight have found just a prefix in the cache, by the last block of that."""

    def __repr__(self) -> str:
        return f"<PrefillQueue [{len(self._prefix_of)} requests; {self.unread_tokens} tokens unread]>"

    def __len__(self) -> int:
        return len(self._prefix_of)

    def unread(self) -> int:
        """Give how many tokens have to be read before it is a new prompt's turn."""
        streams = self.streams
        while streams:
            oldest = next(iter(streams))
            if oldest.context.first_token_at is None:
                break
            self.unread_tokens -= streams.pop(oldest)
        return self.unread_tokens

    def add(self, request: Routable, unread: int, prefix: int | None) -> None:
        """Take a prompt in, of which so many tokens are not in the cache; ``prefix`` is the last block that is."""
        (self.streams if request.streams else self._others)[request] = unread
        self.unread_tokens += unread
        self._prefix_of[request] = prefix
        self.sharing[prefix] = self.sharing.get(prefix, 0) + 1

    def remove(self, request: Routable) -> None:
        """Let a request go, whose response is there or will not come."""
        self.unread_tokens -= (self.streams if request.streams else self._others).pop(request, 0)
        prefix = self._prefix_of.pop(request)
        left = self.sharing[prefix] - 1
        if left:
            self.sharing[prefix] = left
        else:
            del self.sharing[prefix]
