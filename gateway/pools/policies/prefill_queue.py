"""The prompts that one replica has been sent, and how much of them it has yet to read."""

from __future__ import annotations

from collections import OrderedDict

from gateway.pools.policies.policy import Routable


class PrefillQueue:
    """The requests at one replica: the tokens that they hold, those that it has yet to read, and who shares a prefix.

    Tokens are to be read that are not in its prefix cache. An engine reads prompts in the order in which they come.
    Nothing says that one has been read but the first token of its stream, which is noticed when somebody looks. The
    prompt of a request that does not stream counts as unread until its response is there.
    """

    __slots__ = ("_sent", "held_tokens", "sharing", "streams", "unread_tokens")

    def __init__(self) -> None:
        self._sent: dict[Routable, tuple[int, int, int | None]] = {}
        """What each request holds, what of it was unread when it came, and the last block of its cached prefix."""
        self.held_tokens = 0
        self.unread_tokens = 0
        """As far as it was looked at; exact where there are no ``streams``."""
        # Ordered, because the first entry of a dict is found by passing over all that were removed before it.
        self.streams: OrderedDict[Routable, int] = OrderedDict()
        """The unread tokens of each request that streams, the oldest first."""
        self.sharing: dict[int, int] = {}
        """How many requests in flight have found just a prefix in the cache, by the last block of that."""

    def __repr__(self) -> str:
        return f"<PrefillQueue [{len(self._sent)} requests; {self.unread_tokens} of {self.held_tokens} tokens unread]>"

    def __len__(self) -> int:
        return len(self._sent)

    def unread(self) -> int:
        """Give how many tokens have to be read before it is a new prompt's turn."""
        streams = self.streams
        while streams:
            oldest = next(iter(streams))
            if oldest.context.first_token_at is None:
                break
            self.unread_tokens -= streams.pop(oldest)
        return self.unread_tokens

    def add(self, request: Routable, held: int, unread: int, prefix: int | None) -> None:
        """Take in a request that holds so many tokens, some unread; ``prefix`` is the last block that is cached."""
        self._sent[request] = held, unread, prefix
        self.held_tokens += held
        self.unread_tokens += unread
        if request.streams:
            self.streams[request] = unread
        if prefix is not None:
            sharing = self.sharing
            sharing[prefix] = sharing.get(prefix, 0) + 1

    def remove(self, request: Routable) -> None:
        """Let a request go, whose response is there or will not come."""
        held, unread, prefix = self._sent.pop(request)
        self.held_tokens -= held
        self.unread_tokens -= self.streams.pop(request, 0) if request.streams else unread
        if prefix is not None:
            sharing = self.sharing
            left = sharing[prefix] - 1
            if left:
                sharing[prefix] = left
            else:
                del sharing[prefix]
