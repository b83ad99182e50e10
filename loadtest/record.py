"""What is noted of one request of a load test."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, eq=False):
    """One request, as its client saw it. Moments are seconds from the making of its load; ``None``: it never came.

    ``tokens_out`` is what the response's ``usage`` says, never a count of events: an event may carry several tokens.
    """

    planned: float
    sent: float | None = None
    first: float | None = None
    """When the first event with content came."""
    last: float | None = None
    """When the last event with content came; of a response that is no stream, its end."""
    gaps: list[float] = []
    """Seconds between one event with content and the next."""
    status: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    error: str | None = None
    """What went wrong, in words that are equal for equal failures."""
    detail: str = ""
    """What the server said about it."""
    left: bool = False
    """Whether the client went away on purpose."""
    ended: float | None = None
    """When it was over, however it ended."""
    kind: str = ""
    """What was asked: a name of ``WORKLOADS``."""
    asked_tokens: int = 0
    """How many tokens the prompt was made to have; ``tokens_in`` is what the server counted."""
    attempt: int = 1
    """Which time it is that its client sends this request."""
    retry_after: float | None = None
    """After how many seconds its client is to come back, if the server has refused it and says so."""

    @property
    def succeeded(self) -> bool:
        """Whether a whole good response came."""
        return self.error is None and not self.left and self.last is not None

    @property
    def lateness(self) -> float:
        """By how many seconds the client itself sent too late."""
        return 0.0 if self.sent is None else self.sent - self.planned

    @property
    def ttft(self) -> float | None:
        """Seconds from sending to the first event with content."""
        return None if self.sent is None or self.first is None else self.first - self.sent

    @property
    def e2e(self) -> float | None:
        """Seconds from sending to the last event with content."""
        return None if self.sent is None or self.last is None else self.last - self.sent

    @property
    def tpot(self) -> float | None:
        """Seconds per output token behind the first: (E2E - TTFT) / (output tokens - 1)."""
        if self.ttft is None or self.e2e is None or self.tokens_out < 2:
            return None
        return (self.e2e - self.ttft) / (self.tokens_out - 1)
