"""How many tokens each replica's requests hold: the work that it has been sent, from requests of this process alone."""

from __future__ import annotations

from gateway.pools.policies.policy import Routable
from gateway.pools.replica import Replica

_FIRST_GUESS = 256
"""Output tokens that a response is expected to have before any has ended."""

_WEIGHT = 1 / 32
"""How much each request changes the mean of its tokens, and each response that of responses."""


class TokenLoad:
    """The tokens in flight at each replica.

    A request counts the tokens of its prompt and those that its response is expected to have: the mean of the responses
    before, and no more than its limit. A limit alone says little, because most clients send none, or a large one.
    """

    def __init__(self) -> None:
        self._held: dict[Replica, int] = {}
        self._held_by: dict[tuple[Replica, Routable], int] = {}
        self._mean_output = float(_FIRST_GUESS)
        self._mean_request = float(_FIRST_GUESS)

    def __repr__(self) -> str:
        held = sum(self._held.values())
        return f"<TokenLoad [{held} tokens of {len(self._held_by)} requests at {len(self._held)} replicas]>"

    def held(self, replica: Replica) -> float:
        """Give how many tokens the requests at a replica hold, or will, for its weight.

        Requests of others, which its engine tells, count as much as one from here does on average.
        """
        return (self._held.get(replica, 0) + replica.foreign * self._mean_request) / replica.weight

    def assigned(self, replica: Replica, request: Routable) -> None:
        """Count a request at its replica."""
        output, limit = int(self._mean_output), request.max_tokens
        tokens = request.prompt.tokens + (min(limit, output) if limit else output)
        self._held_by[replica, request] = tokens
        self._mean_request += (tokens - self._mean_request) * _WEIGHT
        self._held[replica] = self._held.get(replica, 0) + tokens

    def released(self, replica: Replica, request: Routable) -> None:
        """Count a request out, and learn how long its response was, if that is known."""
        left = self._held[replica] - self._held_by.pop((replica, request))
        if left:
            self._held[replica] = left
        else:
            del self._held[replica]
        if request.context.output_tokens:
            self._mean_output += (request.context.output_tokens - self._mean_output) * _WEIGHT
