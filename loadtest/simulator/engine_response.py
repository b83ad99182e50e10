"""The two kinds of response, and what is known when one is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loadtest.simulator.batch import Work
from loadtest.simulator.faults import Faults

DONE = b"data: [DONE]\n\n"
"""The end marker of OpenAI's older streams."""


@dataclass(frozen=True, slots=True)
class ResponseContext:
    """What a response is made from: the request, and what the engine knows of it."""

    path: str
    body: bytes
    content_type: str
    model: str
    """The model that this engine serves."""
    id: str
    """What makes the response's ids unique: the client's ``x-request-id``, or a number."""
    max_model_len: int
    faults: Faults
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True, slots=True)
class UnaryResponse:
    """A response in one piece."""

    body: bytes
    work: Work | None = None
    """What it costs; ``None``: it needs no place in the batch and is given at once."""
    written: Callable[[], bytes] | None = None
    """Writes the body instead, when the work is done: only then it is known how much of the prompt was cached."""
    status: int = 200
    content_type: bytes = b"application/json"


class EventStream(Protocol):
    """A response in server-sent events, made as its tokens are ready."""

    work: Work

    @property
    def opening(self) -> Sequence[bytes]:
        """The events that are sent as soon as the request has arrived, before it has a place in the batch."""

    def step(self, index: int) -> list[bytes]:
        """Return the events that the token at ``index`` brings; the last brings the end marker too."""

    def failure(self, error: bytes) -> list[bytes]:
        """Return the events with which the stream ends when generation fails with this error body."""


EngineResponse = UnaryResponse | EventStream
