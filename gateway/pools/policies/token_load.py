"""How many tokens each replica's requests hold: the work that it has been sent, from requests of this process alone."""

from __future__ import annotations

from gateway.pools.policies.policy import Routable
from gateway.pools.policies.token_estimate import TokenEstimate
from gateway.pools.replica import Replica


class TokenLoad:
    """The tokens in flight at each replica, as ``TokenEstimate`` has them when a request is sent."""

    def __init__(self) -> None:
        self._tokens: dict[Replica, int] = {}
        """Of the requests from here, at each replica that has any."""
        self._held_by: dict[tuple[Replica, Routable], int] = {}
        self._estimate = TokenEstimate()

    def __repr__(self) -> str:
        held = sum(self._tokens.values())
        return f"<TokenLoad [{held} tokens of {len(self._held_by)} requests at {len(self._tokens)} replicas]>"

    def held(self, replica: Replica) -> float:
        """Give how many tokens the requests at a replica hold, or will, for its weight.

        Requests of others, which its engine tells, count as much as one from here does on average.
        """
        return (self._tokens.get(replica, 0) + replica.foreign * self._estimate.mean_request) / replica.weight

    def assigned(self, replica: Replica, request: Routable) -> None:
        """Count a request at its replica."""
        tokens = self._held_by[replica, request] = self._estimate.of(request.prompt.tokens, request.max_tokens)
        self._tokens[replica] = self._tokens.get(replica, 0) + tokens

    def released(self, replica: Replica, request: Routable) -> None:
        """Count a request out, and learn how long its response was, if that is known."""
        left = self._tokens[replica] - self._held_by.pop((replica, request))
        if left:
            self._tokens[replica] = left
        else:
            del self._tokens[replica]
        self._estimate.learn(request.context.output_tokens)
