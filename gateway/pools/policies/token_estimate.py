"""How many tokens a request holds at its replica: those of its prompt, and those that its response may have."""

from __future__ import annotations

_FIRST_GUESS = 256
"""Output tokens that a response is expected to have before any has ended."""

_WEIGHT = 1 / 32
"""How much each request changes the mean of its tokens, and each response that of responses."""


class TokenEstimate:
    """Learns how long responses are, from the requests of this process alone.

    A response is expected to be as long as those before it on average, and no longer than its limit. A limit alone says
    little, because most clients send none, or a large one.
    """

    __slots__ = ("_mean_output", "mean_request")

    def __init__(self) -> None:
        self.mean_request = float(_FIRST_GUESS)
        """Tokens that a request from here holds."""
        self._mean_output = float(_FIRST_GUESS)

    def __repr__(self) -> str:
        return f"<TokenEstimate [{self._mean_output:.0f} tokens a response, {self.mean_request:.0f} with its prompt]>"

    def of(self, prompt: int, limit: int) -> int:
        """Estimate the tokens of a request that is being sent.

        ``prompt`` are those of its prompt, ``limit`` the most that its response may have, 0 if it does not say.
        """
        tokens = prompt + (limit if 0 < limit < self._mean_output else int(self._mean_output))
        self.mean_request += (tokens - self.mean_request) * _WEIGHT
        return tokens

    def learn(self, output: int) -> None:
        """Learn how many tokens a response had, 0 if that is not known."""
        if output:
            self._mean_output += (output - self._mean_output) * _WEIGHT
