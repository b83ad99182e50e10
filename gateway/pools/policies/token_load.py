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
        self.tokens: dict[Replica, int] = {}
        """Of the requests from here, at each replica that has any."""
        self.mean_request = float(_FIRST_GUESS)
        """Tokens that a request from here holds."""
        self._held_by: dict[tuple[Replica, Routable], int] = {}
        self._mean_output = float(_FIRST_GUESS)

    def __repr__(self) -> str:
        held = sum(self.tokens.values())
        return f"<TokenLoad [{held} tokens of {len(self._held_by)} requests at {len(self.tokens)} replicas]>"

    def held(self, replica: Replica) -> float:
        """Give how many tokens the requests at a replica hold, or will, for its weight.

        Requests of others, which its engine tells, count as much as one from here does on average.
        """
        return (self.tokens.get(replica, 0) + replica.foreign * self.mean_request) / replica.weight

    def assigned(self, replica: Replica, request: Routable) -> None:
        """Count a request at its replica."""
        output, limit = int(self._mean_output), request.max_tokens
        tokens = request.prompt.tokens + (min(limit, output) if limit else output)
        self._held_by[replica, request] = tokens
        self.mean_request += (tokens - self.mean_request) * _WEIGHT
        self.tokens[replica] = self.tokens.get(replica, 0) + tokens

    def released(self, replica: Replica, request: Routable) -> None:
        """Count a request out, and learn how long its response was, if that is known."""
        left = self.tokens[replica] - self._held_by.pop((replica, request))
        if left:
            self.tokens[replica] = left
        else:
            del self.tokens[replica]
        if request.context.output_tokens:
            self._mean_output += (request.context.output_tokens - self._mean_output) * _WEIGHT
