"""Which deadline has passed."""

from __future__ import annotations

import pytest

from gateway.config.gateway import Timeouts
from gateway.exchange.attempt import AttemptState
from gateway.exchange.deadlines import overdue

LIMITS = Timeouts(first_byte=2.0, between_bytes=1.0, total=10.0)


@pytest.mark.parametrize(
    ("state", "waited", "silence"),
    [
        (None, 10.0, 0.0),
        (AttemptState.CONNECTING, 9.0, 9.0),
        (AttemptState.SENT, 2.0, 2.0),
        (AttemptState.ANSWERING, 5.0, 1.0),
        (AttemptState.DONE, 5.0, 5.0),
    ],
)
def test_in_time(state: AttemptState | None, waited: float, silence: float) -> None:
    assert overdue(LIMITS, state, total=10.0, waited=waited, silence=silence) is None


@pytest.mark.parametrize(
    ("state", "waited", "silence", "message", "silent"),
    [
        (None, 10.1, 0.0, "The request took longer than 10 s.", False),
        (AttemptState.SENT, 10.1, 9.0, "The request took longer than 10 s.", False),
        (AttemptState.SENT, 2.1, 2.1, "The engine did not begin to answer within 2 s.", True),
        (AttemptState.ANSWERING, 3.0, 1.1, "The engine fell silent for 1 s within its response.", True),
    ],
)
def test_too_late(state: AttemptState | None, waited: float, silence: float, message: str, silent: bool) -> None:
    late = overdue(LIMITS, state, total=10.0, waited=waited, silence=silence)
    assert late is not None
    assert (late.message, late.silent) == (message, silent)
